"""What parties make of keys: the table's rows to the bit, masks and segments as a model reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from freediv.model import LayerSizes, prepare_inputs
from freediv.model.functions.pooling import Pool
from freediv.mpc.lookup.form import Form, with_rows
from freediv.mpc.lookup.sums import chosen_elements, chosen_rows, cubes, ones, times
from freediv.mpc.replicated.words import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import architecture

from .parties import RANKS, SEPARATOR, Parties, form, texts


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties()


@pytest.mark.parametrize("secret", [True, False], ids=["secret", "published"])
@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize(("vocabulary", "width", "threads"), [(40, 1, 1), (129, 33, 2), (3000, 70, 1)])
def test_what_is_looked_up_is_what_the_model_reads(
    parties: Parties, secret: bool, pairs: bool, vocabulary: int, width: int, threads: int
) -> None:
    """The activations of `prepare_inputs`, and its rows in place of one-hots."""
    model = architecture(vocabulary=vocabulary, embedding_size=width, separator_token=SEPARATOR if pairs else None)
    own = form(vocabulary, secret=secret, pairs=pairs)
    token_ids, mask = texts(own, 5)
    table = np.random.default_rng(2).normal(size=(vocabulary, width)).astype(np.float32)
    found = parties.look_up(own, table, own.write(token_ids, mask), np.ones(5, bool), threads)
    known = prepare_inputs(with_rows(model), token_ids, mask, table=table)
    rows = np.where(mask[..., None] != 0, encode(table, 18).view(np.int64)[token_ids], 0)
    np.testing.assert_array_equal(found.pop("rows"), rows)
    known["mask"] = mask
    for name, values in found.items():
        np.testing.assert_array_equal(values, encode(known[name], 18).view(np.int64), err_msg=name)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attention": "softmax"},
        {"attention": "none"},
        {"window": {"reach": 3, "every": 2}},
        {"separator_token": 3},
        {"sizes": (LayerSizes(pool=Pool(rows=2)), LayerSizes(pool=Pool(rows=3))), "separator_token": 3},
    ],
    ids=["mask over length", "mask", "no mask", "windows", "pairs", "pooled"],
)
def test_whatever_a_model_reads_is_made(parties: Parties, fields: dict[str, Any]) -> None:
    model = architecture(**fields)
    own = Form.of(model, 16)
    token_ids, mask = texts(own, 4)
    table = np.zeros((model.vocabulary, 16), np.float32)
    found = parties.look_up(own, table, own.write(token_ids, mask), np.ones(4, bool))
    known = prepare_inputs(with_rows(model), token_ids, mask, table=table)
    assert found.keys() == known.keys()
    for name, values in known.items():
        np.testing.assert_array_equal(found[name], encode(values, 18).view(np.int64), err_msg=name)


def test_texts_that_are_not_taken_give_nothing(parties: Parties) -> None:
    own = form(100, pairs=True)
    found = parties.look_up(own, np.ones((100, 3)), own.write(*texts(own, 3)), np.array([True, False, True]))
    for values in found.values():
        assert not values[1].any()
        assert values[0].any()


def test_messages_are_uniform_whatever_the_text(parties: Parties) -> None:
    """What each party hears in a look-up of one piece, 300 times over: no byte's mean tells anything."""
    own = form(30, length=16)
    heard: dict[int, list[bytes]] = {rank: [] for rank in RANKS}
    for rank, end in enumerate(parties.ends):
        receive = end.channel.receive

        def noted(sender: int, size: int, rank: int = rank, receive=receive) -> bytes:
            message = receive(sender, size)
            heard[rank].append(message[-8 * 16 :])
            return message

        end.channel.receive = noted  # type: ignore[method-assign]
    token_ids, mask = np.full((1, 16), 7), np.ones((1, 16), int)
    try:
        for _ in range(300):
            parties.look_up(own, np.zeros((30, 4)), own.write(token_ids, mask), np.ones(1, bool))
    finally:
        for end in parties.ends:
            del end.channel.receive
    for messages in heard.values():
        bits = np.unpackbits(np.frombuffer(b"".join(messages), np.uint8).reshape(900, -1), axis=1)
        assert np.abs(bits.sum(axis=0) - 450.0).max() < 5.5 * np.sqrt(900) / 2


def test_a_request_of_berts_size_is_small() -> None:
    """128 pieces of 30,522: the one-hots took 62.5 MB to each of two parties."""
    own = Form(30_522, 128, None, True, ("rows", "mask_over_length"), {})
    by_rank = own.write(np.full((1, 128), 2000), np.ones((1, 128), int))
    assert [len(part) for part in by_rank] == [own.bytes_of_a_text(rank) for rank in RANKS]
    assert sum(map(len, by_rank)) == 6 * 128 * 162 + 2 * 32
    assert sum(map(len, by_rank)) < 500_000


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda ids, mask: mask.__setitem__((0, 0), 0), "its padding after them"),
        (lambda ids, mask: mask.fill(0), "a text has word pieces"),
        (lambda ids, mask: ids.__setitem__((0, 0), 50), "outside the vocabulary"),
        (lambda ids, mask: ids.__setitem__((0, 0), -1), "outside the vocabulary"),
        (lambda ids, mask: ids.fill(5), "no separator"),
    ],
)
def test_what_no_text_has_is_not_written(change, why: str) -> None:
    own = form(50, pairs=True)
    token_ids, mask = texts(own, 1)
    change(token_ids, mask)
    with pytest.raises(ValueError, match=why):
        own.write(token_ids, mask)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.integers(1, 200), st.integers(1, 80), st.integers(0, 2**32))
def test_sums_are_those_of_whole_numbers(count: int, rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(0, 2**64, (rows, columns), dtype=np.uint64)
    bits = random.integers(0, 2**64, (count, -(-rows // 64)), dtype=np.uint64)
    chosen = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, :rows]
    result = np.full((count, columns), 5, np.uint64)
    chosen_rows(bits, table, result, 0, columns)
    np.testing.assert_array_equal(result, chosen.astype(np.uint64) @ table + np.uint64(5))
    elements = np.ascontiguousarray(table[:, 0])
    known = [np.bitwise_xor.reduce(elements[row == 1], initial=0) for row in chosen]
    np.testing.assert_array_equal(chosen_elements(bits, elements), np.array(known, np.uint64))
    np.testing.assert_array_equal(ones(bits), [sum(int(word).bit_count() for word in row) for row in bits])


def test_products_are_those_of_polynomials() -> None:
    def product(a: int, b: int) -> int:
        found = 0
        for place in range(64):
            found ^= (a << place) if b >> place & 1 else 0
        for place in reversed(range(64, 128)):
            found ^= (1 << place | 0x1B << place - 64) if found >> place & 1 else 0
        return found

    x, y = np.random.default_rng(3).integers(0, 2**64, (2, 200), dtype=np.uint64)
    known = np.array([product(int(a), int(b)) for a, b in zip(x, y, strict=True)], np.uint64)
    np.testing.assert_array_equal(times(x, y), known)
    np.testing.assert_array_equal(cubes(x), times(times(x, x), x))
    inverse = x.copy()  # x^(2^64 - 2), as the field has 2^64 elements
    for _ in range(62):
        inverse = times(times(inverse, inverse), x)
    np.testing.assert_array_equal(times(times(inverse, inverse), x), np.ones(200))
