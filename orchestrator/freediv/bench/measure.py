"""Running variants in turn, each through party processes of its own, and taking medians."""

from __future__ import annotations

import secrets
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from ..secure.records import StageRecord
from ..secure.shares import Share, share
from ..secure.store import write_share
from ..secure.worker import RunResult, Worker, WorkerConfig
from ..transformer import Architecture, fold, initial_parameters, prepare_inputs
from .addresses import Link, loopback
from .variants import Variant

Result = TypeVar("Result")
WORLD_SIZES = {"ABY3": 3, "SEMI2K": 2}


@dataclass(frozen=True)
class Setting:
    """What all variants of one run have in common."""

    architecture: Architecture
    length: int
    batch: int
    protocol: str = "ABY3"
    threads: int = 1
    part: Literal["model", "layer", "embedding"] = "model"
    """What is counted: everything, the encoder's layers (per layer), or the embedding; the rest runs all the same."""

    @property
    def beaver(self) -> str | None:
        """SEMI2K's multiplication triples come from a party of the run itself: fit for measuring, not for secrets."""
        return "trusted-first-party" if self.protocol == "SEMI2K" else None

    @property
    def world_size(self) -> int:
        """Number of parties."""
        return WORLD_SIZES[self.protocol]


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
            running.append(stack.enter_context(_parties(setting, variant, link)))
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


class _Parties:
    """The workers of one variant, driven together."""

    def __init__(
        self, setting: Setting, workers: Sequence[Worker], inputs: Sequence[dict[str, Share]], share_bytes: int
    ) -> None:
        self._setting, self._workers, self._inputs = setting, workers, inputs
        self.share_bytes = share_bytes
        self.request_bytes = sum(part.nbytes for own in inputs for part in own.values())

    @property
    def peak_memory_bytes(self) -> tuple[int, ...]:
        """Peak resident memory of each party's worker."""
        return tuple(worker.peak_memory_bytes or 0 for worker in self._workers)

    def each(self, call: Callable[[int, Worker], Result]) -> list[Result]:
        """Call every worker at once; they wait for each other."""
        with ThreadPoolExecutor(len(self._workers)) as pool:
            return list(pool.map(call, range(len(self._workers)), self._workers))

    def run(self) -> Run:
        """One request."""
        request, s = secrets.token_hex(8), self._setting
        results = self.each(
            lambda rank, worker: worker.run(request, s.batch, s.length, self._inputs[rank], lambda record: None)
        )
        return _counted(results, s)


def _counted(results: Sequence[RunResult], setting: Setting) -> Run:
    kept = [[record for record in result.records if _counts(record, setting)] for result in results]
    encoder = [record for result in results for record in result.records if record.layer is not None]
    shared_by = len(results) * max(1, setting.architecture.layers)
    layers = max(1, setting.architecture.layers) if setting.part == "layer" else 1
    return Run(
        seconds=max(sum(record.seconds for record in records) for records in kept) / layers,
        sent_bytes=tuple(sum(record.sent_bytes for record in records) // layers for records in kept),
        messages=tuple(sum(record.sent_messages for record in records) // layers for records in kept),
        link_bytes=tuple(result.link_sent_bytes for result in results),
        wire_bytes=tuple(result.wire_sent_bytes for result in results),
        layer_bytes=sum(record.sent_bytes for record in encoder) / shared_by,
        layer_messages=sum(record.sent_messages for record in encoder) / shared_by,
    )


def _counts(record: StageRecord, setting: Setting) -> bool:
    if setting.part == "layer":
        return record.layer is not None
    return setting.part in ("model", record.block)


@contextmanager
def _parties(setting: Setting, variant: Variant, link: Link) -> Iterator[_Parties]:
    architecture = variant.apply(setting.architecture)
    with tempfile.TemporaryDirectory(prefix="freediv-bench-") as name, ExitStack() as stack:
        stores = [Path(name) / f"party-{rank}" for rank in range(setting.world_size)]
        share_bytes = _share_weights(architecture, stores, setting)
        random = np.random.default_rng(0)
        token_ids = random.integers(0, architecture.vocabulary, (setting.batch, setting.length))
        table = random.normal(0, 1, (architecture.vocabulary, architecture.embedding_size)).astype(np.float32)
        inputs: list[dict[str, Share]] = [{} for _ in stores]
        for key, array in prepare_inputs(architecture, token_ids, np.ones(token_ids.shape), table=table).items():
            for own, part in zip(inputs, _shared(array, setting), strict=True):
                own[key] = part
        peers = stack.enter_context(link(setting.world_size))
        workers = []
        for rank in range(setting.world_size):
            config = WorkerConfig(
                rank=rank, peers=peers[rank], threads=setting.threads, products=variant.products, lanes=variant.lanes,
                recv_timeout_s=600.0, protocol=setting.protocol, beaver=setting.beaver,
            )  # fmt: skip
            worker = Worker(config)
            stack.callback(worker.close)
            worker.start()
            workers.append(worker)
        parties = _Parties(setting, workers, inputs, share_bytes)
        parties.each(lambda rank, worker: worker.connect())
        model_id = secrets.token_hex(8)
        parties.each(
            lambda rank, worker: worker.load(
                architecture, "logits", weights=stores[rank], model_id=model_id, on_progress=lambda done, total: None
            )
        )
        yield parties


def _shared(array: np.ndarray, setting: Setting) -> list[Share]:
    return share(array, protocol=setting.protocol, world_size=setting.world_size, beaver=setting.beaver)


def _share_weights(architecture: Architecture, stores: Sequence[Path], setting: Setting) -> int:
    """Random weights, scaled so that activations stay near one whatever the sizes; bytes that each party holds."""
    parameters = initial_parameters(architecture, scale=1.0)
    for own in parameters.values():
        for name, value in own.items():
            if value.ndim == 2 and name not in ("word", "position", "token_type"):
                own[name] = value / np.sqrt(value.shape[0])
    held = 0
    for stage, folded in fold(architecture, parameters).items():
        for name, weight in folded.items():
            for store, part in zip(stores, _shared(np.asarray(weight), setting), strict=True):
                write_share(store, stage, name, part)
            held += int(np.size(weight)) * 8 * (2 if len(stores) == 3 else 1)
    return held
