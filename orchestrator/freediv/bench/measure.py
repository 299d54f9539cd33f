"""Running variants in turn, each through party processes of its own, and taking medians."""

from __future__ import annotations

import math
import secrets
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..model import Architecture, initial_parameters, parameter_shapes
from ..mpc.records import Cost, StageRecord
from ..mpc.sharing.settings import TRUSTED_FIRST_PARTY, Protocol, ProtocolSettings, fewest_parties
from ..mpc.sharing.shares import Share
from ..mpc.worker.together import Together
from ..mpc.worker.worker import SECRET_BYTES, WorkerConfig
from .addresses import Link, loopback
from .variants import Variant


@dataclass(frozen=True)
class Setting:
    """What all variants of one run have in common."""

    architecture: Architecture
    length: int
    batch: int
    protocol: Protocol = "ABY3"
    threads: int = 1
    part: Literal["model", "layer", "embedding"] = "model"
    """What is counted: everything, the encoder's layers (per layer), or the embedding; the rest runs all the same."""

    @property
    def settings(self) -> ProtocolSettings:
        """SEMI2K's multiplication triples come from a party of the run itself: fit for measuring, not for secrets."""
        beaver = TRUSTED_FIRST_PARTY if self.protocol == "SEMI2K" else None
        return ProtocolSettings(self.protocol, parties=fewest_parties(self.protocol), beaver=beaver)


@dataclass(frozen=True)
class Run:
    """One request of one variant.

    Attributes:
        seconds: of the slowest party.
        sent_bytes, messages: sent by each party, for the part that is counted.
        link_bytes: sent by each party for the whole request, as counted here.
        wire_bytes: the same as the kernel counted it on the party's connections.
        layer_bytes, layer_messages: sent for one encoder layer, mean over layers and parties.
    """

    seconds: float
    sent_bytes: tuple[int, ...]
    messages: tuple[int, ...]
    link_bytes: tuple[int, ...]
    wire_bytes: tuple[int, ...]
    layer_bytes: float
    layer_messages: float


@dataclass(frozen=True)
class Measurement:
    """All runs of one variant.

    Attributes:
        variant: its name.
        runs: in order.
        peak_memory_bytes: resident, of each party's worker.
        share_bytes: of the weights, that each party holds.
        request_bytes: of the shares that a request brings to all parties.
    """

    variant: str
    runs: tuple[Run, ...]
    peak_memory_bytes: tuple[int, ...]
    share_bytes: int
    request_bytes: int

    @property
    def seconds(self) -> float:
        """Median seconds."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def spread(self) -> float:
        """Half the range of the seconds, as a fraction of their median."""
        values = [run.seconds for run in self.runs]
        return (max(values) - min(values)) / 2 / self.seconds if self.seconds else 0.0

    @property
    def sent_bytes(self) -> float:
        """Mean over parties and runs: SPU changes roles from run to run, so that one party's figures vary."""
        return statistics.mean(count for run in self.runs for count in run.sent_bytes)

    @property
    def messages(self) -> float:
        """Messages sent, mean over parties and runs."""
        return statistics.mean(count for run in self.runs for count in run.messages)

    @property
    def wire_overhead(self) -> float:
        """What the kernel counted beyond the bytes counted here (framing, acknowledgements), as a fraction."""
        counted = sum(count for run in self.runs for count in run.link_bytes)
        return sum(count for run in self.runs for count in run.wire_bytes) / max(1, counted) - 1

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return {
            "variant": self.variant,
            "seconds": self.seconds,
            "spread": self.spread,
            "sent_bytes": self.sent_bytes,
            "messages": self.messages,
            "layer_sent_bytes": statistics.mean(run.layer_bytes for run in self.runs),
            "layer_messages": statistics.mean(run.layer_messages for run in self.runs),
            "all_parties_sent_bytes": self.sent_bytes * len(self.peak_memory_bytes),
            "wire_overhead": self.wire_overhead,
            "request_bytes": self.request_bytes,
            "peak_memory_bytes": max(self.peak_memory_bytes),
            "share_bytes": self.share_bytes,
            "runs": [run.seconds for run in self.runs],
        }


def measure(
    setting: Setting,
    variants: Sequence[Variant],
    repeats: int,
    *,
    link: Link = loopback,
    advance: Callable[[str], None] = lambda what: None,
) -> list[Measurement]:
    """Run every variant `repeats` times in turn, after one run each that is not counted.

    Args:
        setting: sizes, batch, length, protocol.
        variants: what to compare; all are held in memory at once.
        repeats: counted runs of each.
        link: gives every party its peers' addresses (loopback, or through a relay that shapes the network).
        advance: called before each step with what is about to be done.
    """
    with ExitStack() as stack:
        running = []
        for variant in variants:
            advance(f"{variant.name}: sharing weights")
            running.append(stack.enter_context(_running(setting, variant, link)))
        counted: dict[str, list[Run]] = {variant.name: [] for variant in variants}
        for repeat in range(repeats + 1):
            for variant, parties in zip(variants, running, strict=True):
                advance(f"{variant.name}: " + (f"run {repeat} of {repeats}" if repeat else "warming up"))
                run = parties.run()
                if repeat:
                    counted[variant.name].append(run)
        return [
            Measurement(
                variant.name,
                tuple(counted[variant.name]),
                parties.peak_memory_bytes,
                parties.share_bytes,
                parties.request_bytes,
            )
            for variant, parties in zip(variants, running, strict=True)
        ]


@dataclass(frozen=True)
class _Running:
    """The workers of one variant, and what they are asked; bytes as in `Measurement`."""

    setting: Setting
    together: Together
    inputs: list[dict[str, Share]]
    share_bytes: int

    @property
    def request_bytes(self) -> int:
        return sum(part.nbytes for own in self.inputs for part in own.values())

    @property
    def peak_memory_bytes(self) -> tuple[int, ...]:
        return tuple(worker.peak_memory_bytes or 0 for worker in self.together.workers)

    def run(self) -> Run:
        """One request."""
        s = self.setting
        return _counted([result.cost for result in self.together.run(self.inputs, s.batch, s.length)], s)


def _counted(costs: Sequence[Cost], setting: Setting) -> Run:
    kept = [[record for record in cost.stages if _counts(record, setting)] for cost in costs]
    encoder = [record for cost in costs for record in cost.stages if record.layer is not None]
    shared_by = len(costs) * max(1, setting.architecture.layers)
    layers = max(1, setting.architecture.layers) if setting.part == "layer" else 1
    return Run(
        seconds=max(sum(record.seconds for record in records) for records in kept) / layers,
        sent_bytes=tuple(sum(record.sent_bytes for record in records) // layers for records in kept),
        messages=tuple(sum(record.sent_messages for record in records) // layers for records in kept),
        link_bytes=tuple(cost.link.sent_bytes for cost in costs),
        wire_bytes=tuple(cost.wire_sent_bytes or 0 for cost in costs),
        layer_bytes=sum(record.sent_bytes for record in encoder) / shared_by,
        layer_messages=sum(record.sent_messages for record in encoder) / shared_by,
    )


def _counts(record: StageRecord, setting: Setting) -> bool:
    if setting.part == "layer":
        return record.layer is not None
    return setting.part in ("model", record.block)


@contextmanager
def _running(setting: Setting, variant: Variant, link: Link) -> Iterator[_Running]:
    architecture, secret = variant.apply(setting.architecture), secrets.token_bytes(SECRET_BYTES)
    with tempfile.TemporaryDirectory(prefix="freediv-bench-") as name, link(setting.settings.parties) as peers:
        configs = [
            WorkerConfig(
                rank=rank, peers=own, secret=secret, threads=setting.threads, products=variant.products,
                lookup=variant.lookup,
                lanes=variant.lanes, recv_timeout_s=600.0, settings=setting.settings,
            )
            for rank, own in enumerate(peers)
        ]  # fmt: skip
        with Together(configs) as together:
            together.join().load(Path(name), architecture, _random_weights(architecture))
            inputs = _random_request(together, architecture, setting)
            shapes = parameter_shapes(architecture, folded=True)
            words = sum(math.prod(shape) for own in shapes.values() for shape in own.values())
            yield _Running(setting, together, inputs, words * 8 * (2 if setting.settings.name == "ABY3" else 1))


def _random_request(together: Together, architecture: Architecture, setting: Setting) -> list[dict[str, Share]]:
    random, shape = np.random.default_rng(0), (setting.batch, setting.length)
    if not architecture.padded:
        return together.inputs(random.uniform(-1, 1, (*shape, architecture.embedding_size)), np.ones(shape))
    token_ids = random.integers(0, architecture.vocabulary, shape)
    table = random.normal(0, 1, (architecture.vocabulary, architecture.embedding_size)).astype(np.float32)
    return together.inputs(token_ids, np.ones(shape), table)


def _random_weights(architecture: Architecture) -> dict[str, dict[str, np.ndarray]]:
    """Scaled so that activations stay near one whatever the sizes."""
    parameters = initial_parameters(architecture, scale=1.0)
    for own in parameters.values():
        for name, value in own.items():
            if value.ndim == 2 and name not in ("word", "position", "token_type"):
                own[name] = value / np.sqrt(value.shape[0])
    return parameters
