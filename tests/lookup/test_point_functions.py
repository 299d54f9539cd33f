"""Point functions: one-hots exactly, from keys of which one alone says nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from freediv.mpc.lookup.point_functions import common_part, depth_of, generate, key_bytes, stretch, words_of
from hypothesis import given, settings
from hypothesis import strategies as st


def unpacked(bits: np.ndarray, size: int) -> np.ndarray:
    every = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    assert not every[:, size:].any()
    return every[:, :size]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_both_parties_bits_differ_at_the_index_alone(data: st.DataObject) -> None:
    size = data.draw(st.one_of(st.integers(1, 300), st.integers(1, 100_000)))
    indices = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=12)), np.int64)
    keys = generate(indices, size)
    assert all(own.shape == (len(indices), key_bytes(size)) for own in keys)
    first, second = (stretch(own, size, party) for party, own in enumerate(keys))
    assert first.shape == (len(indices), words_of(size))
    assert np.array_equal(unpacked(first ^ second, size), np.arange(size) == indices[:, None])


def test_every_index_of_a_domain_is_found() -> None:
    size = 1000
    first, second = (stretch(own, size, party) for party, own in enumerate(generate(np.arange(size), size)))
    assert np.array_equal(unpacked(first ^ second, size), np.eye(size))


def test_a_key_of_a_large_vocabulary_is_short() -> None:
    assert (depth_of(30_523), key_bytes(30_523)) == (8, 162)  # 10 seeds, and 16 bits


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="an index is not among 10"):
        generate(np.array([index]), 10)


def test_another_reading_of_the_paper_finds_the_same_bit() -> None:
    """Boyle, Gilboa and Ishai's figure 1, evaluated at one index after another."""

    def prg(seed: bytes, name: bytes) -> bytes:
        key = hashlib.sha256(b"freediv point functions " + name).digest()[:16]
        block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(seed)
        return bytes(a ^ b for a, b in zip(block, seed, strict=True))

    def evaluate(key: bytes, party: int, x: int, size: int) -> int:
        depth, seed, bit = depth_of(size), key[:16], party
        controls = int.from_bytes(key[16 * (depth + 1) : -16], "little")
        for level in range(depth):
            right = x // 128 >> (depth - 1 - level) & 1
            child = prg(seed, b"R" if right else b"L")
            seed, last = bytes([child[0] & 0xFE]) + child[1:], child[0] & 1
            if bit:
                correction = key[16 * (level + 1) : 16 * (level + 2)]
                seed = bytes(a ^ b for a, b in zip(seed, correction, strict=True))
                last ^= controls >> (2 * level + right) & 1
            bit = last
        leaf = int.from_bytes(prg(seed, b"C"), "little") ^ (int.from_bytes(key[-16:], "little") if bit else 0)
        return leaf >> (x % 128) & 1

    size, index = 700, 389
    keys = [own[0] for own in generate(np.array([index]), size)]
    for party, key in enumerate(keys):
        bits = unpacked(stretch(key[None], size, party), size)[0]
        assert [evaluate(key.tobytes(), party, x, size) for x in range(size)] == bits.tolist()


@pytest.mark.parametrize("party", [0, 1])
def test_one_partys_keys_are_uniform_whatever_the_index(party: int) -> None:
    """Each bit is 1 in half of 4,000 keys, up to five standard deviations of all 1,200; the controls too.

    The lowest bit of a seed's correction is none of the seed's and always 0.
    """
    size, count = 1000, 4000
    for index in (0, 517, 999):
        keys = generate(np.full(count, index), size)[party]
        ones = np.unpackbits(keys, axis=1, bitorder="little").sum(axis=0)
        depth = depth_of(size)
        never = {8 * 16 * (level + 1) for level in range(depth)} | set(
            range(8 * 16 * (depth + 1) + 2 * depth, 8 * (key_bytes(size) - 16))
        )
        assert not ones[sorted(never)].any()
        free = np.delete(ones, sorted(never))
        assert np.abs(free - count / 2).max() < 5 * np.sqrt(count) / 2
        bits = unpacked(stretch(keys, size, party), size).sum(axis=0)
        assert np.abs(bits - count / 2).max() < 5 * np.sqrt(count) / 2


def test_nothing_is_drawn_twice() -> None:
    keys = np.concatenate([*generate(np.zeros(500, int), 1000), *generate(np.zeros(500, int), 1000)])
    assert len(np.unique(keys[:, :16], axis=0)) == 2000
    assert len(np.unique(common_part(keys), axis=0)) == 1000  # alike in both parties' keys of one piece
