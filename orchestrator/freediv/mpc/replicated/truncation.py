"""What each party computes, alone, when a summed product is truncated and shared again: the protocol is `replicated`'s.

All words are uint64, all arithmetic mod 2^64; f is the number of bits to drop. An array of bits has one uint8 each.
Fields of f bits follow each other from the lowest bit of the first word on; one may lie across two words.
"""

from __future__ import annotations

import numpy as np

from .products import Words, compiled

MAX_SHIFT = 32
"""The two fields that an element takes come from the two halves of one random word."""
OFFSET = 1 << 62
"""Makes every number positive: those shared must lie within (-2^62, 2^62)."""


def field_words(count: int, shift: int) -> int:
    """Words that `count` fields of `shift` bits take."""
    return -(-count * shift // 64)


@compiled
def _put(value: np.uint64, index: int, shift: int, fields: Words) -> None:
    word, bit = (index * shift) >> 6, np.uint64((index * shift) & 63)
    fields[word] |= value << bit
    if bit + np.uint64(shift) > np.uint64(64):
        fields[word + 1] |= value >> (np.uint64(64) - bit)


@compiled
def _fields(words: Words, shift: int, count: int) -> Words:
    """All fields, a word each."""
    out = np.empty(count, np.uint64)
    low, width = np.uint64((1 << shift) - 1), np.uint64(shift)
    at, bit = 0, np.uint64(0)
    for i in range(count):
        value = words[at] >> bit
        bit += width
        if bit >= np.uint64(64):
            at += 1
            bit -= np.uint64(64)
            if bit > np.uint64(0):
                value |= words[at] << (width - bit)
        out[i] = value & low
    return out


@compiled
def mask_as_first(
    summand: Words, mask: Words, rest: Words, pads: Words, choice: np.ndarray, shift: int, out: Words, fields: Words
) -> None:
    """The first helper's message: z_1 + r, and X_1 = e_1 b + rho for the wrap's bit b of the rest w."""
    low = np.uint64((1 << shift) - 1)
    for i in range(summand.size):
        out[i] = summand[i] + mask[i]
        bit = rest[i] >> np.uint64(63)
        _put((np.uint64(choice[i]) * bit + pads[i]) & low, i, shift, fields)


@compiled
def mask_as_second(
    summand: Words, mask: Words, rest: Words, pads: Words, choice: np.ndarray, shift: int, out: Words, fields: Words
) -> None:
    """The second helper's message: z_2 - r - w, and X_2 = e_2 b - m - (1 - 2 e_2) rho."""
    low = np.uint64((1 << shift) - 1)
    for i in range(summand.size):
        out[i] = summand[i] - mask[i] - rest[i]
        chosen, bit = np.uint64(choice[i]), rest[i] >> np.uint64(63)
        sign = np.uint64(1) - np.uint64(2) * chosen
        _put((chosen * bit - (pads[i] >> np.uint64(32)) - sign * pads[i]) & low, i, shift, fields)


@compiled
def open_and_split(
    summand: Words,
    first: Words,
    first_fields: Words,
    second: Words,
    second_fields: Words,
    first_choice: np.ndarray,
    second_choice: np.ndarray,
    own: Words,
    shift: int,
    out: Words,
    flips: np.ndarray,
) -> None:
    """The opener's word y_0, given y_1 (`own`), and the bits d that both helpers get."""
    f, g = np.uint64(shift), np.uint64(64 - shift)
    x_1, x_2 = _fields(first_fields, shift, summand.size), _fields(second_fields, shift, summand.size)
    offset, back = np.uint64(1 << 62), np.uint64(1 << (62 - shift))
    one, two = np.uint64(1), np.uint64(2)
    for i in range(summand.size):
        opened = summand[i] + first[i] + second[i] + offset
        top, chosen = opened >> np.uint64(63), np.uint64(second_choice[i])
        flip = top ^ chosen ^ np.uint64(first_choice[i])
        transferred = (one - two * chosen) * x_1[i] + x_2[i]
        out[i] = (opened >> f) - ((top - (one - two * flip) * transferred) << g) - back - own[i]
        flips[i] = np.uint8(flip)


@compiled
def finish_as_helper(rest: Words, pads: Words, flips: np.ndarray, shift: int, out: Words) -> None:
    """The word y_2 that both helpers hold."""
    f, g, low = np.uint64(shift), np.uint64(64 - shift), np.uint64((1 << shift) - 1)
    one, two = np.uint64(1), np.uint64(2)
    for i in range(rest.size):
        flip, bit = np.uint64(flips[i]), rest[i] >> np.uint64(63)
        wrap = bit - flip * bit - (one - two * flip) * (pads[i] >> np.uint64(32))
        ceiling = (rest[i] >> f) + np.uint64((rest[i] & low) != np.uint64(0))
        out[i] = ceiling - (wrap << g)
