"""Many data owners at once over one deployment: how much is answered, how soon, and whether every answer is right."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..cluster.configuration import OwnerConfig, PartyConfig, read_owner_config
from ..errors import UserError
from ..model.answers import Prediction
from ..model.reading.texts import TextReader
from ..owners.data_owner import Answers, DataOwner, connected
from ..wire.status import PartyStatus, ask_parties

_SAMPLE_S = 2.0
_LOGIT_TOLERANCE = 0.02
"""What probabilistic truncation changes at most from one run of a sentence to the next, with room."""


@dataclass(frozen=True)
class Reply:
    """One request that was answered: seconds after the start, seconds that its owner waited, requests in its run."""

    at: float
    seconds: float
    sentences: int
    run_requests: int
    right: bool


@dataclass(frozen=True)
class Memory:
    """Bytes that each party held, by rank, so many seconds after the start."""

    at: float
    by_rank: tuple[int, ...]


@dataclass
class Load:
    """What came of a load test."""

    owners: int
    identities: int
    length: int
    seconds: float = 0.0
    replies: list[Reply] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    sent_away: int = 0
    memory: list[Memory] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Requests with an answer that is not the one that the same sentences get alone."""
        return sum(not reply.right for reply in self.replies)

    def latency(self, percent: float) -> float:
        """Seconds within which so many percent of the requests were answered."""
        return float(np.percentile([reply.seconds for reply in self.replies], percent)) if self.replies else 0.0

    def slope(self, rank: int) -> float:
        """Bytes that a party's memory grew in an hour, by least squares, without the first third: it warms up then."""
        samples = [sample for sample in self.memory if sample.at >= self.seconds / 3]
        if len(samples) < 3:
            return 0.0
        times = [sample.at for sample in samples]
        return 3600 * statistics.linear_regression(times, [sample.by_rank[rank] for sample in samples]).slope

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        answered = len(self.replies)
        ranks = range(len(self.memory[0].by_rank)) if self.memory else ()
        return {
            "owners": self.owners,
            "identities": self.identities,
            "length": self.length,
            "seconds": self.seconds,
            "answered": answered,
            "wrong": self.wrong,
            "errors": dict(self.errors),
            "sent_away": self.sent_away,
            "requests_per_second": answered / self.seconds if self.seconds else 0.0,
            "sentences_per_second": sum(r.sentences for r in self.replies) / self.seconds if self.seconds else 0.0,
            "latency_seconds": {f"p{percent}": self.latency(percent) for percent in (50, 90, 99, 100)},
            "requests_per_run": statistics.mean(r.run_requests for r in self.replies) if self.replies else 0.0,
            "parties": [
                {
                    "rank": rank,
                    "memory_at_start": self.memory[0].by_rank[rank],
                    "memory_at_end": self.memory[-1].by_rank[rank],
                    "bytes_per_hour": self.slope(rank),
                }
                for rank in ranks
            ],
        }


async def run_load(
    folders: Sequence[Path],
    texts: Sequence[str],
    *,
    owners: int,
    requests: int | None,
    seconds: float | None,
    sentences: int,
    length: int | None,
    operator: PartyConfig | None = None,
    on_progress: Callable[[str, float], None] = lambda step, fraction: None,
) -> Load:
    """Have data owners ask one request after another, all at the same time.

    Args:
        folders: of data owners, who are taken in turn where there are fewer than `owners`.
        texts: what to ask about.
        owners: how many ask at the same time.
        requests: of each; None: as many as `seconds` allow.
        seconds: after which nobody begins another request; None: after `requests`.
        sentences: of a request.
        length: bucket that its sentences are made to fill, in word pieces; None: the one nearest to 32.
        operator: a party's, to whom alone the parties tell their memory; None: it is not noted.
        on_progress: told what is done, and the fraction that is over.

    Raises:
        UserError: a folder is not as it should be, or a sentence is not answered to an owner who asks alone.
    """
    configs = [read_owner_config(folder) for folder in folders]
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(configs[number % len(configs)])) for number in range(owners)
        ]
        texts, length = await _filling(texts, clients[0], configs[0], length)
        asked = [tuple(texts[(start + i) % len(texts)] for i in range(sentences)) for start in range(len(texts))]
        load = Load(owners, min(owners, len(configs)), length)
        on_progress("asking alone", 0.0)
        alone = [(await clients[0].classify(request)).predictions for request in asked]
        await asyncio.gather(*(client.model() for client in clients))
        test = _Test(load, list(zip(asked, alone, strict=True)), requests, seconds, on_progress)
        sampling = asyncio.ensure_future(test.sample(operator)) if operator is not None else None
        try:
            await asyncio.gather(*(test.ask(number, client) for number, client in enumerate(clients)))
        finally:
            load.seconds = test.elapsed()
            if sampling is not None:
                sampling.cancel()
        if operator is not None:
            load.memory.append(await _memory(operator, test.elapsed()))
    return load


class _Test:
    """One test under way."""

    def __init__(
        self,
        load: Load,
        asked: list[tuple[tuple[str, ...], tuple[Prediction, ...]]],
        requests: int | None,
        seconds: float | None,
        on_progress: Callable[[str, float], None],
    ) -> None:
        self._load, self._asked, self._on_progress = load, asked, on_progress
        self._requests = requests if requests is not None else 1 << 62
        self._seconds = seconds if seconds is not None else float("inf")
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    async def ask(self, number: int, client: DataOwner) -> None:
        """One owner's requests, one after another."""
        for turn in range(self._requests):
            if self.elapsed() >= self._seconds:
                return
            texts, alone = self._asked[(number + turn) % len(self._asked)]
            began = self.elapsed()
            try:
                answers = await client.classify(texts)
            except UserError as error:
                self._load.errors[str(error)] += 1
            else:
                self._count(answers, alone, began)
            self._tell()

    async def sample(self, config: PartyConfig) -> None:
        """Note the parties' memory now and then."""
        while True:
            self._load.memory.append(await _memory(config, self.elapsed()))
            await asyncio.sleep(_SAMPLE_S)

    def _count(self, answers: Answers, alone: tuple[Prediction, ...], began: float) -> None:
        now = self.elapsed()
        right = all(_alike(one, other) for one, other in zip(answers.predictions, alone, strict=True))
        shared = max(request.run_requests for request in answers.requests)
        self._load.replies.append(Reply(now, now - began, len(alone), shared, right))
        self._load.sent_away += sum(request.sent_away for request in answers.requests)

    def _tell(self) -> None:
        done, load = len(self._load.replies), self._load
        whole = self._requests * load.owners
        fraction = max(done / whole, self.elapsed() / self._seconds)
        errors = f", {sum(load.errors.values())} not" if load.errors else ""
        self._on_progress(f"{done} requests answered{errors}", min(1.0, fraction))


def _alike(one: Prediction, other: Prediction) -> bool:
    if one.logits is None or other.logits is None:
        return one.name == other.name
    return bool(np.abs(np.subtract(one.logits, other.logits)).max() <= _LOGIT_TOLERANCE)


async def _memory(config: PartyConfig, at: float) -> Memory:
    states: list[PartyStatus] = await ask_parties(config)
    return Memory(at, tuple(state.memory_bytes for state in states))


async def _filling(
    texts: Sequence[str], client: DataOwner, config: OwnerConfig, length: int | None
) -> tuple[list[str], int]:
    """Texts that just fit into a bucket of the model, made of the words of these; and its length."""
    model = await client.model()
    buckets = config.buckets_of(model.architecture)
    length = length or min(buckets, key=lambda bucket: abs(bucket - 32))
    if length not in buckets:
        raise UserError(f"--length {length}: the parties serve {', '.join(map(str, buckets))} word pieces")
    if not isinstance(model.reader, TextReader):
        raise UserError("the parties serve a model that reads images, and load is measured with texts")
    tokenizer, filled = model.reader.tokenizer, []
    for text in texts:
        words = text.split()
        words *= -(-length // len(words))
        while len(words) > 1 and len(tokenizer.encode(" ".join(words)).ids) > length:
            words.pop()
        filled.append(" ".join(words))
    return filled, length
