"""Distributed point functions: a one-hot of bits, shared between two parties in a few hundred bytes.

For an index x below n each of two parties gets a key, and stretches it by itself to n bits: theirs differ at x alone.
Keys are those of Boyle, Gilboa and Ishai (CCS 2016, figure 1, with early termination): a binary tree of 128-bit seeds,
of which a party has the root. Both parties' nodes are the same outside the path to x, and independent on it, with one
more bit each that is 1 on one side. Correction words, the same in both keys, make nodes that leave the path the same.
A leaf gives 128 bits, so 30,523 indices take 8 levels and 162 bytes. One key alone is pseudorandom, whatever x is.

The generator is AES-128 with fixed keys in the mode of Matyas, Meyer and Oseas, G(s) = AES(s) + s (exclusive or), one
fixed key for each child and one for what a leaf gives; the lowest bit of a child is its one more bit, and taken out of
the seed. Guo, Katz, Wang and Yu (IEEE S&P 2020) have what that rests on: AES with a known key as a random permutation;
and what many keys under one permutation cost: of N that a party has seen, T trials find one with probability N T /
2^127 (2^30 pieces: some 2^97 trials for one of them).

Published vectors of such keys do not fit: Google's library and the IDPF of the VDAF draft hash AES(o(s)) + o(s) for an
orthomorphism o, and the latter converts seeds between levels; dkales/dpf-cpp and dpf-go, which hash as here, draw the
keys of their tests. So tests here compare with a second reading of the paper.

Anything of a key's length is a key: whatever bytes come, they stretch to some bits, the same each time.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Keys: TypeAlias = np.ndarray
"""Of one party: uint8 [count, `key_bytes`]."""
Bits: TypeAlias = np.ndarray
"""uint64 [count, words], the lowest bit of the first word first."""

LEAF_BITS = 128
_SEED = 16
_LEFT, _RIGHT, _LEAF = (hashlib.sha256(b"freediv point functions " + name).digest()[:16] for name in (b"L", b"R", b"C"))


def depth_of(size: int) -> int:
    """Levels of the tree over so many indices."""
    return max(0, math.ceil(math.log2(-(-size // LEAF_BITS))))


def words_of(size: int) -> int:
    """Words of so many bits."""
    return -(-size // 64)


def key_bytes(size: int) -> int:
    """Bytes of one key: the root's seed; a seed and two bits for each level; the leaf's correction."""
    depth = depth_of(size)
    return _SEED * (depth + 2) + -(-2 * depth // 8)


def common_part(keys: Keys) -> np.ndarray:
    """What both parties' keys have alike: all but the root."""
    return keys[..., _SEED:]


def generate(indices: np.ndarray, size: int) -> tuple[Keys, Keys]:
    """The keys of both parties for each index.

    Args:
        indices: integers [count], each from 0 to `size` - 1.
        size: how many indices there are.

    Raises:
        ValueError: an index is none.
    """
    indices = np.asarray(indices, np.int64)
    if size < 1 or indices.ndim != 1 or np.any((indices < 0) | (indices >= size)):
        raise ValueError(f"an index is not among {size}")
    count, depth = len(indices), depth_of(size)
    seeds = np.frombuffer(secrets.token_bytes(2 * _SEED * count), np.uint8).reshape(2, count, _SEED).copy()
    roots, bits = seeds.copy(), np.zeros((2, count), np.uint8)
    bits[1] = 1
    corrections = np.empty((count, depth, _SEED), np.uint8)
    controls = np.empty((count, 2 * depth), np.uint8)
    every = np.arange(count)
    for level in range(depth):
        step = (indices // LEAF_BITS >> (depth - 1 - level) & 1).astype(np.uint8)
        children, control = zip(*(_children(own) for own in seeds), strict=True)
        # [two children, count]: where the path does not go, both parties are to have the same.
        lost = 1 - step
        corrections[:, level] = children[0][lost, every] ^ children[1][lost, every]
        kept = np.stack([control[0][side] ^ control[1][side] ^ (step == side) for side in (0, 1)])
        controls[:, 2 * level : 2 * level + 2] = kept.T
        for party in range(2):
            seeds[party] = children[party][step, every] ^ corrections[:, level] * bits[party][:, None]
            bits[party] = control[party][step, every] ^ kept[step, every] & bits[party]
    last = _leaves(seeds[0]) ^ _leaves(seeds[1])
    place = indices % LEAF_BITS
    last[every, place // 8] ^= (1 << place % 8).astype(np.uint8)
    packed = np.packbits(controls, axis=1, bitorder="little")
    shared = np.concatenate([corrections.reshape(count, _SEED * depth), packed, last], axis=1)
    first, second = (np.concatenate([root, shared], axis=1) for root in roots)
    return first, second


def stretch(keys: Keys, size: int, party: int) -> Bits:
    """One party's bits [count, `words_of(size)`] of each key; those beyond `size` are 0.

    Args:
        keys: of any content.
        size: how many indices there are.
        party: 0 or 1, whose keys they are.
    """
    count, depth = len(keys), depth_of(size)
    keys = np.ascontiguousarray(keys)
    corrections = keys[:, _SEED : _SEED * (depth + 1)].reshape(count, depth, _SEED)
    end = keys.shape[1] - _SEED
    controls = np.unpackbits(keys[:, _SEED * (depth + 1) : end], axis=1, bitorder="little")
    seeds, bits = keys[:, None, :_SEED], np.full((count, 1), party, np.uint8)
    leaves = -(-size // LEAF_BITS)
    for level in range(depth):
        children, control = _children(seeds)
        children ^= corrections[:, level, None] * bits[..., None]
        control ^= controls[:, 2 * level : 2 * level + 2].T[..., None] & bits
        wanted = -(-leaves // (1 << (depth - 1 - level)))  # nodes above the leaves that there are
        nodes = 2 * seeds.shape[1]
        seeds = np.stack(tuple(children), axis=2).reshape(count, nodes, _SEED)[:, :wanted]
        bits = np.stack(tuple(control), axis=2).reshape(count, nodes)[:, :wanted]
    found = _leaves(seeds) ^ keys[:, None, end:] * bits[..., None]
    words = found.reshape(count, leaves * _SEED).view("<u8")[:, : words_of(size)].astype(np.uint64)
    if size % 64:
        words[:, -1] &= np.uint64((1 << size % 64) - 1)
    return words


def _hashed(seeds: np.ndarray, key: bytes) -> np.ndarray:
    """AES(s) + s of each seed [..., 16]."""
    raw = np.ascontiguousarray(seeds)
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (a fixed permutation, no encryption)
    return np.frombuffer(encryptor.update(raw.data), np.uint8).reshape(raw.shape) ^ raw


def _children(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both children of each seed [..., 16]: seeds [2, ..., 16] and bits [2, ...]."""
    children = np.stack([_hashed(seeds, _LEFT), _hashed(seeds, _RIGHT)])
    bits = children[..., 0] & 1
    children[..., 0] &= 0xFE
    return children, bits


def _leaves(seeds: np.ndarray) -> np.ndarray:
    return _hashed(seeds, _LEAF)
