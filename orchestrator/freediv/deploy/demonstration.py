"""The whole of it at once, on this machine: render, start, load the shipped model, classify, stop."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..cluster.configuration import read_owner_config
from ..cluster.folders import owner_folder
from ..cluster.ports import free_ports
from ..cluster.topology import PartyPlace, Topology
from ..errors import UserError
from ..interrupts import noted_interrupts
from ..model import Architecture, Text, resolve_model
from ..owners.data_owner import Answers, Progress, infer
from ..owners.model_owner import load_offer, prepare_offer
from .local import LocalDeployment
from .render import render

SENTENCES = Path(__file__).with_suffix(".tsv")
_LINK_S = 180.0


@dataclass
class Demonstration:
    """What came of it: answers, seconds by phase, peak memory in bytes by process.

    `expected` are the labels that a reader would give, empty where the model knows others, or reads pairs. `folder` is
    the data owner's, there while the parties run.
    """

    topology: Topology
    sentences: tuple[Text, ...]
    expected: tuple[str, ...]
    answers: Answers
    folder: Path
    phases: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)


def demonstrate(
    model: str,
    on_progress: Callable[[str, float], None] = lambda step, fraction: None,
    then: Callable[[Demonstration, threading.Event], None] | None = None,
) -> Demonstration:
    """Classify the package's own sentences with three parties, of which nothing is left running whatever happens.

    Args:
        model: a directory, or the name of a shipped one.
        on_progress: told the step, and the fraction that is over.
        then: is given what came of it while the parties still run, in a thread of its own, and goes on until a signal
            sets the event: that is how it is meant to end.

    Raises:
        UserError: the model cannot be read, or a party fails.
    """
    resolve_model(model)
    with ExitStack() as stack:
        interrupts = stack.enter_context(noted_interrupts())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="freediv-demo-")))
        phases = _Phases()
        topology = free_topology()
        render(topology, directory)
        deployment = LocalDeployment(directory)
        # Parties hold the reading end: should this process be killed, they stop.
        reading, writing = os.pipe()
        stack.callback(os.close, writing)
        stack.callback(deployment.stop)
        deployment.start(lifeline=reading)
        os.close(reading)
        phases.over("start the parties")
        sentences, expected, answers = interrupts.run(
            lambda: _load_and_classify(deployment, model, phases, on_progress), deployment.stop
        )
        peaks = {f"party {state.rank}": state.peak_memory_bytes for state in deployment.states()}
        peaks["both owners"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        folder = owner_folder(directory, "data-owner")
        found = Demonstration(topology, sentences, expected, answers, folder, phases.seconds, peaks)
        if then is not None:
            stopped = threading.Event()
            with contextlib.suppress(KeyboardInterrupt):
                interrupts.run(partial(then, found, stopped), stopped.set)
            phases.over("serve")
        deployment.stop()
        phases.over("stop")
    return found


def _load_and_classify(
    deployment: LocalDeployment,
    model: str,
    phases: _Phases,
    on_progress: Callable[[str, float], None],
) -> tuple[tuple[Text, ...], tuple[str, ...], Answers]:
    on_progress("reading the model, while the parties start", 0.0)
    with ThreadPoolExecutor(1) as pool:
        offering = pool.submit(prepare_offer, model)

        def look(states: object) -> None:
            if offering.done():
                offering.result()  # a model that cannot be read ends the wait

        deployment.wait_until_linked(_LINK_S, look)
        offer = offering.result()
    texts, expected = _fitting(offer.architecture)
    phases.over("connect them, meanwhile read the model")
    owner = read_owner_config(owner_folder(deployment.directory, "model-owner"))
    asyncio.run(load_offer(owner, offer, on_progress))
    phases.over("share the model")
    folder = owner_folder(deployment.directory, "data-owner")
    answers = infer(folder, texts, on_progress=_stepwise(on_progress))
    phases.over("classify")
    return texts, expected, answers


def _fitting(architecture: Architecture) -> tuple[tuple[Text, ...], tuple[str, ...]]:
    """The sentences, each with the next one for a model that reads pairs, and their labels if it could give them."""
    if not architecture.padded:
        raise UserError("a demonstration classifies sentences, and the model reads images: see `freediv infer --image`")
    sentences, expected = read_sentences()
    if architecture.pairs:
        return tuple(zip(sentences, (*sentences[1:], sentences[0]), strict=True)), ()
    return sentences, expected if set(expected) <= set(architecture.label_names) else ()


class _Phases:
    """Seconds by phase, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()

    def over(self, phase: str) -> None:
        """A phase has ended, and the next begins."""
        now = time.monotonic()
        self.seconds[phase], self._started = now - self._started, now


def read_sentences() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The demonstration's sentences, and the labels that a reader would give them."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return tuple(row["sentence"] for row in rows), tuple(row["label"] for row in rows)


def free_topology(cluster: str = "demo") -> Topology:
    """Three parties on this machine, at ports that nobody uses."""
    ports = free_ports(9)
    threads = max(1, (os.cpu_count() or 1) // 3)
    parties = tuple(
        PartyPlace(
            rank=rank,
            host="127.0.0.1",
            grpc_port=ports[3 * rank],
            link_port=ports[3 * rank + 1],
            metrics_port=ports[3 * rank + 2],
            threads=threads,
        )
        for rank in range(3)
    )
    return Topology(cluster=cluster, max_batch=16, parties=parties)


def _stepwise(on_progress: Callable[[str, float], None]) -> Callable[[Progress], None]:
    return lambda progress: on_progress(progress.step, progress.done / progress.total)
