"""The compiled steps of a training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from ...progress import Meter

Program = Any
"""A step for batches of one shape (`jax.stages.Compiled`)."""
Lowered = Any
"""The same before it is compiled (`jax.stages.Lowered`)."""


class Programs:
    """Steps by phase and by the length that their batches are padded to; further seeds of a training take the same."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, int], Program] = {}

    def get(self, phase: str, lowered: Mapping[int, Callable[[], Lowered]]) -> dict[int, Program]:
        """The phase's steps by length; those not compiled yet are, as many at once as there are cores."""
        missing = {length: lower for length, lower in lowered.items() if (phase, length) not in self._compiled}
        if missing:
            cores = len(os.sched_getaffinity(0))
            with ThreadPoolExecutor(cores) as pool, Meter(f"{phase}: compile", len(missing)) as meter:
                # Traced one after another: threads would share by chance what they trace, and JAX's cache on disk not
                # know the program again.
                lengths = {pool.submit(lower().compile): length for length, lower in missing.items()}
                for count, done in enumerate(as_completed(lengths), start=1):
                    self._compiled[phase, lengths[done]] = done.result()
                    meter.update(count)
        return {length: self._compiled[phase, length] for length in lowered}
