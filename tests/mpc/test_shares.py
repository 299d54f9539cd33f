"""Sharing: exact, random, and closed to what does not belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import spu
from freediv.errors import UserError
from freediv.mpc.sharing.settings import TRUSTED_FIRST_PARTY, ProtocolSettings
from freediv.mpc.sharing.shares import Share, reconstruct, share
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

ABY3 = ProtocolSettings()
SEMI2K = ProtocolSettings("SEMI2K", parties=2, beaver=TRUSTED_FIRST_PARTY)
EVERY = [
    ABY3,
    replace(ABY3, field="FM128"),
    SEMI2K,
    replace(SEMI2K, parties=5),
    replace(SEMI2K, field="FM128"),
    ProtocolSettings("CHEETAH", parties=2),
]
every_protocol = pytest.mark.parametrize("under", EVERY, ids=lambda s: f"{s.name}-{s.field}-{s.parties}")


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(
        np.float64, arrays.array_shapes(min_dims=0, max_dims=4, max_side=5, min_side=0), elements=st.floats(-2e6, 2e6)
    )
)
def test_an_array_comes_back_to_half_a_unit_of_the_last_bit(array: np.ndarray) -> None:
    shares = share(array)
    back = reconstruct(shares)
    assert back.shape == array.shape
    np.testing.assert_allclose(back, array, rtol=1e-7, atol=0.5 * 2.0**-18)


@every_protocol
def test_every_protocol_shares_and_joins(under: ProtocolSettings) -> None:
    array = np.linspace(-9, 9, 24, dtype=np.float32).reshape(2, 3, 4)
    shares = share(array, under)
    assert len(shares) == under.parties
    for part in shares:
        part.check((2, 3, 4), under)
    back = reconstruct(shares, under)
    np.testing.assert_allclose(back, array, atol=2.0**-17)


@every_protocol
def test_spu_reads_our_shares(under: ProtocolSettings) -> None:
    array = np.random.default_rng(0).normal(size=(7, 5))
    held = [s.to_spu() for s in share(array, under)]
    io = spu.Io(under.parties, under.runtime_config())
    np.testing.assert_allclose(io.reconstruct(held), array, atol=2.0**-17)


def test_we_read_spus_shares() -> None:
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    made = spu.Io(3, ABY3.runtime_config()).make_shares(array, spu.Visibility.VIS_SECRET)
    shares = [Share.from_spu(s) for s in made]
    np.testing.assert_allclose(reconstruct(shares), array, atol=2.0**-18)
    for rank, part in enumerate(shares):
        np.testing.assert_array_equal(part.words()[1], shares[(rank + 1) % 3].words()[0])
        with pytest.raises(ValueError, match="not one of ABY3"):  # from outside only words, whose size is checked
            part.check((3, 4), ABY3)


def test_a_large_array_crosses_spus_chunks() -> None:
    array = np.arange(5_000_000, dtype=np.float32) / 1024  # 80 MB of shares: three chunks
    held = [part.to_spu() for part in share(array)]
    assert len(held[0].share_chunks) > 1
    io = spu.Io(3, ABY3.runtime_config())
    np.testing.assert_allclose(io.reconstruct(held), array, atol=2.0**-18)


def test_what_one_party_holds_is_random_and_says_nothing_of_the_array() -> None:
    n = 200_000
    for array in (np.zeros(n), np.full(n, 1234.5)):
        for part in share(array):
            for word in part.words():
                ones = np.unpackbits(word.view(np.uint8)).mean()
                assert abs(ones - 0.5) < 6 * 0.5 / np.sqrt(64 * n)  # six standard deviations
                assert len(np.unique(word)) == n
                correlation = np.corrcoef(word[:-1] / 2.0**64, word[1:] / 2.0**64)[0, 1]
                assert abs(correlation) < 6 / np.sqrt(n)


def test_the_same_array_is_shared_differently_every_time() -> None:
    array = np.ones(100)
    first, second = share(array), share(array)
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a.words(), b.words(), strict=True):
            assert not np.any(x == y)


def test_randomness_travels_as_its_seed() -> None:
    sizes = [part.nbytes for part in share(np.zeros((1000, 100)))]
    assert sizes[0] < 8 * 100_000 + 300
    assert sizes[1] < 300
    assert sizes[2] < 8 * 100_000 + 300


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e14, -1e14])
def test_a_number_that_the_ring_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite or too large"):
        share(np.array([1.0, value]))


def test_a_share_shows_nothing_of_itself() -> None:
    part = share(np.ones((2, 2)))[0]
    shown = f"{part!r} {part}"
    assert shown == f"Share({part.nbytes} bytes) Share({part.nbytes} bytes)"


def test_shares_of_different_arrays_are_not_joined() -> None:
    first, second = share(np.ones(4)), share(np.ones(4))
    with pytest.raises(ValueError, match="hold in common differs"):
        reconstruct([first[0], first[1], second[2]])
    with pytest.raises(ValueError, match="not of one array"):
        reconstruct([first[0], first[1], share(np.ones(5))[2]])
    with pytest.raises(UserError, match="needs 3 parties, there are 2"):
        reconstruct(first[:2])


def test_a_share_that_does_not_fit_is_refused() -> None:
    part = share(np.ones((2, 3)))[0]
    part.check((2, 3), ABY3)
    other = share(np.ones((2, 3)), replace(SEMI2K, parties=3))[0]
    wrong = [
        ((3, 2), part, "shape"),
        ((2, 3), other, "not one of ABY3"),
        ((2, 3), Share(part.meta, (part.chunks[0][:-1], part.chunks[1])), "number of bytes"),
        ((2, 3), Share(part.meta, part.chunks[:1]), "contradicts itself"),
        ((2, 3), Share(b"{}", part.chunks), "cannot be read"),
        ((2, 3), Share(b"\xff", part.chunks), "cannot be read"),
    ]
    for shape, bad, why in wrong:
        with pytest.raises(ValueError, match=why):
            bad.check(shape, ABY3)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.lists(st.binary(max_size=40), max_size=3))
def test_junk_is_refused_and_never_crashes(meta: bytes, chunks: list[bytes]) -> None:
    with pytest.raises(ValueError):
        Share(meta, tuple(chunks)).check((2, 2), ABY3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"field": "FM32"}, "FM32"),
        ({"name": "REF2K"}, "REF2K"),
        ({"name": "SEMI2K"}, "rank 0, which could learn everything"),
        ({"name": "SEMI2K", "beaver": "nobody"}, "only trusted-first-party"),
        ({"beaver": "trusted-first-party"}, "only for SEMI2K"),
        ({"parties": 2}, "needs 3 parties"),
        ({"name": "CHEETAH"}, "needs 2 parties"),
        ({"fraction_bits": 40}, "fraction_bits"),
    ],
)
def test_settings_that_crash_or_give_secrets_away_are_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        ProtocolSettings(**changes)  # type: ignore[arg-type]
