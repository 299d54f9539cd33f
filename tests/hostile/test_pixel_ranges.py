"""An owner who sends in place of pixels what no image has, to a model that compares them: on real parties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.model import convert_functions, fold, forward, prepare_inputs, read_model, read_reader
from freediv.model.answers import answer_of
from freediv.model.pixel_ranges import SLACK
from freediv.model.reading.images import ImageReader
from freediv.model.stages import answer
from freediv.mpc.sharing.shares import Share
from mpc.parties import Parties
from vision import PICTURES, SOURCE

EDGES = (2**63, 2**62, 3 * 2**62, 2**63 + 2**17, 2**63 - 2**17)
"""Of the ring, half of it and a quarter away from a pixel, where differences wrap around."""


def moved(by_rank: Sequence[dict[str, Share]], first: int) -> list[dict[str, Share]]:
    """Shares of the same rows, and from an image on of a pixel in each that is so far away: the word that ranks 0 and 2
    hold has other numbers, so that all belong together.
    """
    found = [dict(own) for own in by_rank]
    for own in (found[0], found[2]):
        chunks = list(own["rows"].chunks)
        [place] = [number for number, chunk in enumerate(chunks) if len(chunk) > 100]
        words = np.frombuffer(chunks[place], np.uint64).copy().reshape(own["rows"].shape)
        words[first:, 3, 7] += np.array(EDGES, np.uint64)
        chunks[place] = words.tobytes()
        own["rows"] = replace(own["rows"], chunks=tuple(chunks))
    return found


def test_pixels_that_no_image_has_get_no_answer(tmp_path: Path) -> None:
    model, reader = read_model(SOURCE), read_reader(SOURCE)
    cheap = {"attention": "2quad-freediv", "activation": "quad"}
    functions = tuple(one.model_copy(update=cheap) for one in model.architecture.functions[:1])
    model = convert_functions(model, functions=functions, layers=1)
    patches = model.architecture.patches
    assert patches is not None and isinstance(reader, ImageReader)
    ranges = reader.processor.ranges(patches.channels)
    patches = patches.model_copy(update={"ranges": ranges})
    architecture = model.architecture.model_copy(update={"patches": patches})

    [sound] = reader.sequences(PICTURES[:1], architecture)
    least, largest = np.zeros((2, *sound.shape), np.float32)
    of_channels = np.repeat(np.array(ranges, np.float32), patches.row_size // patches.channels, axis=0)
    least[patches.tokens :], largest[patches.tokens :] = of_channels.T
    assert (sound >= least - 1e-6).all() and (sound <= largest + 1e-6).all()

    def changed(row: int, number: int, value: float) -> np.ndarray:
        found = sound.copy()
        found[row, number] = value
        return found

    last = patches.row_size - 1
    kept = [sound, largest, least]  # black and white are images
    beyond = [
        changed(-1, last, largest[-1, last] + 2 * SLACK),
        changed(patches.tokens, 0, least[patches.tokens, 0] - 2 * SLACK),
        changed(0, 5, 0.1),  # of no image
        *(changed(3, 7, sign * value) for value in (2.0**42, 2.0**30) for sign in (1, -1)),
        1000 * sound,
    ]
    given = np.stack([*kept, *beyond, *[sound] * len(EDGES)])
    count = len(kept) + len(beyond)
    wanted = [True] * len(kept) + [False] * (len(given) - len(kept))
    inputs = prepare_inputs(architecture, given, np.ones(given.shape[:2]))
    folded = fold(architecture, model.parameters)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(answer(architecture, folded, inputs)[1][:count], wanted[:count])
    plain = np.asarray(forward(model.architecture, model.parameters, {"rows": given[: len(kept)]})).argmax(axis=1)
    with Parties() as parties:
        parties.join()
        parties.load(tmp_path, architecture, model.parameters, output="label")
        shares = moved(parties.inputs(given, np.ones(given.shape[:2])), count)
        output = parties.answer(parties.run(shares, *given.shape[:2]))
    found = answer_of(architecture).decode(architecture, output, "label")
    assert [one.answered for one in found] == wanted
    assert [one.value for one in found] == [*plain, *[None] * (len(given) - len(kept))]


def test_ranges_are_those_of_the_image_processor_and_nothing_else() -> None:
    patches = read_model(SOURCE).architecture.patches
    assert patches is not None
    for ranges in (
        ((0.0, 1.0),),
        ((0.0, 1.0),) * 4,
        ((1.0, 0.0),) * 3,
        ((0.0, float("inf")),) * 3,
        ((0.0, np.nan),) * 3,
    ):
        with pytest.raises(ValueError, match="ranges: "):
            type(patches).model_validate(patches.model_dump() | {"ranges": ranges})
