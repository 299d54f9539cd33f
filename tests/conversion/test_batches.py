"""Batches: every row once, few shapes, little padding."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from freediv.conversion.texts.batches import join_sequences, padding_lengths, plan_batches, string_together
from hypothesis import given, settings
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(2, 64), min_size=1, max_size=60)


def padded_tokens(lengths: list[int], pad_to: np.ndarray) -> int:
    return int(sum(pad_to[np.searchsorted(pad_to, lengths)]))


@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=30), count=st.integers(1, 4))
@settings(deadline=None)
def test_padding_lengths_waste_as_little_as_any_choice(lengths: list[int], count: int) -> None:
    found = padding_lengths(lengths, count)
    assert len(found) <= count
    assert found[-1] >= max(lengths)
    possible = sorted({min(-(-length // 4) * 4, max(lengths)) for length in lengths})
    choices = [c for n in range(1, count + 1) for c in combinations(possible, n) if c[-1] == possible[-1]]
    assert padded_tokens(lengths, found) == min(padded_tokens(lengths, np.array(choice)) for choice in choices)


@given(lengths=LENGTHS, seed=st.integers(0, 100), tokens=st.integers(8, 200))
@settings(deadline=None)
def test_an_epoch_sees_every_sequence_once_and_its_padding_is_masked(
    lengths: list[int], seed: int, tokens: int
) -> None:
    sequences = [np.arange(1, length + 1, dtype=np.int32) for length in lengths]
    targets = np.arange(len(lengths))
    plan = plan_batches(lengths, tokens_per_batch=tokens, rng=np.random.default_rng(seed))
    seen = []
    for index in range(len(plan)):
        batch = plan.batch(index, sequences, targets, pad_token=0)
        assert batch.read.size <= max(tokens, *lengths)
        for ids, mask, target, weight in zip(batch.read, batch.mask, batch.targets, batch.weight, strict=True):
            assert ids[mask == 1].tolist() == sequences[target].tolist()
            assert not ids[mask == 0].any()
            seen += [int(target)] * int(weight)
    assert sorted(seen) == list(range(len(lengths)))


def test_the_order_depends_on_the_seed_alone() -> None:
    lengths = np.random.default_rng(0).integers(2, 40, 300).tolist()

    def order(seed: int) -> list[list[int]]:
        plan = plan_batches(lengths, tokens_per_batch=64, rng=np.random.default_rng(seed))
        return [rows.tolist() for _, rows in plan.batches]

    assert order(1) == order(1)
    assert order(1) != order(2)


@given(lengths=LENGTHS, longest=st.integers(8, 128), seed=st.integers(0, 100))
@settings(deadline=None)
def test_strung_together_sequences_stay_within_the_longest_and_keep_two_special_tokens(
    lengths: list[int], longest: int, seed: int
) -> None:
    sequences = [np.array([101, *range(1, length - 1), 102]) for length in lengths]
    rng = np.random.default_rng(seed)
    for group in string_together(lengths, 500, longest, rng):
        joined = join_sequences([sequences[row] for row in group])
        assert len(joined) <= longest
        assert joined[0] == 101 and joined[-1] == 102
        assert np.isin(joined[1:-1], (101, 102)).sum() == 0
        assert len(joined) - 2 == sum(lengths[row] - 2 for row in group)


def test_pairs_are_strung_together_first_texts_first() -> None:
    for parting in ([102], [102, 102]):
        pairs = [np.array([101, *first, *parting, *second, 102]) for first, second in (([1, 2], [3]), ([4], [5, 6]))]
        assert join_sequences(pairs, 102).tolist() == [101, 1, 2, 4, *parting, 3, 5, 6, 102]
    cut = np.array([101, 1, 2, 102])  # nothing is left of the second text
    assert join_sequences([cut, pairs[1]], 102).tolist() == [101, 1, 2, 4, 5, 6, 102]
