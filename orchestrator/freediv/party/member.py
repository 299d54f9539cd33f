"""A party as one of several: its worker, its models and the requests that it holds.

It does what rank 0 tells it, in the order in which it is told; rank 0 tells itself the same way.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..cluster.configuration import PartyConfig
from ..cluster.ports import unused_exit
from ..errors import UserError
from ..model import parameter_shapes
from ..model.thinness import thinness
from ..mpc.records import StageRecord
from ..mpc.sharing.share_files import Manifest
from ..mpc.worker.worker import ON_THIS_MACHINE, SECRET_BYTES, NotBegun, PeerLost, Worker, WorkerConfig, WorkerFailed
from ..process import available_memory_bytes, memory_bytes
from ..wire import protocol_pb2 as pb
from .models.model_store import ModelStore
from .models.uploads import Uploads
from .quotas import Quotas
from .requests import Inbox, Observer, Outcome
from .runs import Run

log = logging.getLogger(__name__)
T = TypeVar("T")

_BESIDE_S = 0.2
"""How long requests wait at a time for shares that are loaded beside them."""
VERDICT_SECONDS = 10.0
"""How long a party whose run broke waits for rank 0 to name the cause."""


@dataclass(frozen=True)
class ActiveModel:
    """The model in use, as far as it is public. `digest` is what budgets go by (`quotas`)."""

    manifest: Manifest
    bundle: bytes
    digest: str


class Member:
    """One party's part in what all parties do together."""

    def __init__(self, config: PartyConfig, observer: Observer) -> None:
        self.config = config
        self.observer = observer
        self.store = ModelStore(config.store_directory)
        self.uploads = Uploads(config, self.store)
        self.inbox = Inbox(config, config.limits, config.rank)
        self.quotas = Quotas(config, self.store)
        self.restarts = 0
        self._digest = config.digest()
        self._worker: Worker | None = None
        self._epoch = 0
        self._linked = False
        self._loaded = ""
        self._beside = ""
        self._loading = 0.0
        self._worker_peak = 0
        self._incarnation = b""
        self._running: frozenset[str] = frozenset()
        self._turn = asyncio.Lock()
        self._described: dict[str, pb.StoredModel] = {}
        self._model = self._read_model()

    @property
    def model(self) -> ActiveModel | None:
        """The model in use."""
        return self._model

    @property
    def link_up(self) -> bool:
        """Whether the worker is connected to its peers."""
        return self._linked and self._worker is not None and self._worker.alive

    def state(self, problem: str = "") -> pb.PartyState:
        """What this party is at."""
        worker = self._worker
        return pb.PartyState(
            rank=self.config.rank,
            agreement=self._digest,
            epoch=self._epoch,
            link_up=self.link_up,
            model_id=self.store.active,
            loaded=self._loaded if self.link_up else "",
            beside=self._beside if self.link_up else "",
            stored=[self._stored(model_id) for model_id in self.store.stored()],
            loading=self._loading,
            waiting_requests=len(self.inbox),
            worker_restarts=self.restarts,
            peak_memory_bytes=self.peak_memory_bytes(),
            memory_bytes=memory_bytes() + (memory_bytes(worker.pid) if worker is not None and worker.pid else 0),
            problem=problem,
            worker_pid=worker.pid or 0 if worker is not None and worker.alive else 0,
            computing=bool(self._running),
        )

    def peak_memory_bytes(self) -> int:
        """The most memory that this process and its worker ever had, added up."""
        if self._worker is not None:
            self._worker_peak = max(self._worker_peak, self._worker.peak_memory_bytes or 0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + self._worker_peak

    async def establish(self, epoch: int, secret: bytes, model_id: str, incarnation: bytes) -> None:
        """Come to a link of this epoch and secret with this model loaded (empty: none).

        Raises:
            WorkerFailed: the link or the loading failed; the worker is gone.
            ValueError: there is no such model here, or the secret is none.
        """
        if model_id and model_id not in self.store.stored():
            raise ValueError(f"party {self.config.rank} has no shares of model {model_id}")
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a link's secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._end_requests_of_others(incarnation)
        async with self._turn:
            same_link = self.link_up and self._epoch == epoch
            if not (same_link and (self._loaded in ("", model_id) or self._beside == model_id)):
                await self._new_link(epoch, secret)
            if model_id and self._loaded != model_id:
                await self._load(model_id)

    async def preload(self, model_id: str) -> None:
        """Load a model beside the one in use, between requests, so that a switch to it takes no time.

        Where no model is in use, or there is no memory for two, nothing is done: the switch then loads it.

        Raises:
            UserError: a share is missing or damaged.
            WorkerFailed: the worker ended, or gets no further and is replaced.
        """
        if model_id not in self.store.stored():
            return
        shapes = parameter_shapes(self.store.manifest(model_id).architecture, folded=True)
        if 16 * sum(math.prod(shape) for own in shapes.values() for shape in own.values()) > available_memory_bytes():
            log.warning("there is no memory for two models; requests will wait while model %s is loaded", model_id)
            return
        loaded = False
        while not loaded:
            async with self._turn:
                worker = self._worker
                if worker is None or not self.link_up or self._loaded in ("", model_id):
                    return
                # Who asked may go away; the worker still answers one command after another.
                part = asyncio.shield(asyncio.to_thread(self._load_beside, worker, model_id))
                try:
                    loaded = await asyncio.wait_for(part, self.config.limits.receive_s)
                except asyncio.TimeoutError:
                    worker.kill()
                    raise WorkerFailed(f"party {self.config.rank} got no further; its worker is replaced") from None
        self._beside = model_id

    def _load_beside(self, worker: Worker, model_id: str) -> bool:
        manifest, directory = self.store.manifest(model_id), self.store.directory(model_id)
        self._put_table(model_id)
        return worker.load_beside(
            manifest.architecture, manifest.output, directory, model_id, _BESIDE_S, self._on_progress
        )

    def _put_table(self, model_id: str) -> None:
        if self.config.lookup == "points":  # otherwise data owners look up in a published table
            self.store.put_table(model_id)

    def _on_progress(self, done: int, total: int) -> None:
        self._loading = done / total if total else 1.0

    async def execute(self, command: pb.ExecuteRequest) -> pb.ExecuteReply:
        """Run requests together with the other parties, and hand each one's result to whoever waits for its events."""
        async with self._turn:
            worker = self._worker
            if worker is None or not self.link_up or self._epoch != command.epoch or self._loaded != command.model_id:
                return _refused(f"party {self.config.rank} is not on the link")
            run = Run(command, self.inbox, self.store.manifest(command.model_id).architecture, self.config)
            self._running = frozenset(run.keys)
            try:
                return await self._run(worker, run)
            finally:
                self._running = frozenset()

    def drop(self, key: str, cause: str, *, failed: bool) -> None:
        """End a request without a result; one that had begun takes the worker with it, whose link is of no use now."""
        request = self.inbox.get(key)
        if request is not None:
            request.end("failed" if failed else "dropped", cause)
        if failed and key in self._running:
            self._stop_worker()

    def keep(self, model_id: str) -> None:
        """Use this model from now on, and keep those before it on disk; see `ModelStore.keep`.

        Where its owner wants budgets to begin anew with it (`quotas`), they do when it is first used.
        """
        store = self.store
        if model_id in store.stored() and not store.was_used(model_id) and store.manifest(model_id).fresh_budget:
            self.quotas.forget(store.public_digest(model_id))
            log.warning("budgets begin anew with model %s, as its owner asked", model_id)
        self.store.keep(model_id, self.config.limits.models)
        self._model = self._read_model()

    def close(self) -> None:
        """Stop the worker and end all requests."""
        for request in self.inbox.all():
            request.end("failed", f"party {self.config.rank} was stopped")
        self._stop_worker()

    async def _run(self, worker: Worker, run: Run) -> pb.ExecuteReply:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def on_stage(record: StageRecord) -> None:
            loop.call_soon_threadsafe(self._stage_finished, run, record)

        try:
            result = await self._blocking(
                worker, lambda: worker.run(run.name, run.sentences, run.length, run.inputs, on_stage)
            )
        except asyncio.CancelledError:
            run.end("party 0 went away while the request ran; send it again")
            raise
        except (WorkerFailed, UserError) as error:
            log.warning("a run broke: %s", error)
            cause = f"party {self.config.rank}: {error}"
            loop.call_later(VERDICT_SECONDS, run.end, cause)
            lost = isinstance(error, PeerLost)
            return pb.ExecuteReply(outcome=pb.ExecuteReply.PEER_LOST if lost else pb.ExecuteReply.FAILED, cause=cause)
        except NotBegun as error:
            log.warning("a run was not begun: %s", error)
            return _refused(f"party {self.config.rank}: {error}")
        self.inbox.ran(loop.time() - began)
        for owner, cause in run.answer(result):  # also of one that hung up meanwhile
            log.warning("a request of %s is refused: %s", owner, cause)
            self.observer.unsound(owner)
        return pb.ExecuteReply(outcome=pb.ExecuteReply.ANSWERED)

    async def _new_link(self, epoch: int, secret: bytes) -> None:
        if self._worker is not None:
            self.restarts += 1
        self._stop_worker()
        if self.config.gateway and (address := unused_exit(self.config)):
            raise WorkerFailed(
                f"nothing listens at {address}, where its gateway should; start that, or the party with `--gateway`"
            )
        worker = self._worker = Worker(self._worker_config(epoch, secret))
        self._epoch, self._loaded, self._beside, self._loading = epoch, "", "", 0.0
        await self._blocking(worker, worker.start)
        await self._blocking(worker, worker.connect)
        self._linked = True
        log.info("the link of epoch %d is up", epoch)

    async def _load(self, model_id: str) -> None:
        worker = self._worker
        assert worker is not None
        architecture, output = (manifest := self.store.manifest(model_id)).architecture, manifest.output
        directory = self.store.directory(model_id)
        await self._blocking(worker, lambda: self._put_table(model_id))
        if self._beside == model_id:
            await self._blocking(worker, lambda: worker.use(architecture, model_id))
        else:
            await self._blocking(
                worker, lambda: worker.load(architecture, output, directory, model_id, self._on_progress)
            )
        self._loaded, self._beside, self._loading = model_id, "", 1.0
        log.info("model %s is loaded", model_id)

    async def _blocking(self, worker: Worker, call: Callable[[], T]) -> T:
        """A worker's call in a thread. If rank 0 gives up waiting, or goes away, the worker goes too."""
        try:
            return await asyncio.to_thread(call)
        except (asyncio.CancelledError, WorkerFailed, UserError):
            worker.kill()
            if worker is self._worker:
                self._linked = False
            raise

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self.peak_memory_bytes()
        self._linked = False

    def _stage_finished(self, run: Run, record: StageRecord) -> None:
        self.observer.stage_finished(record)
        run.tell(record)

    def _end_requests_of_others(self, incarnation: bytes) -> None:
        if incarnation != self._incarnation:
            for request in self.inbox.all():
                if request.incarnation and request.incarnation != incarnation:
                    outcome: Outcome = "failed" if request.began else "dropped"
                    request.end(outcome, "party 0 was restarted while the request waited; send it again")
            self._incarnation = incarnation

    def _stored(self, model_id: str) -> pb.StoredModel:
        if model_id not in self._described:
            self._described[model_id] = self._describe(model_id)
        return self._described[model_id]

    def _describe(self, model_id: str) -> pb.StoredModel:
        architecture = self.store.manifest(model_id).architecture
        functions = dict.fromkeys(f"{layer.attention} {layer.activation}" for layer in architecture.functions)
        about = f"{architecture.layers} layers, {architecture.hidden} wide, {' and '.join(functions)}"
        if thinner := thinness(architecture):
            about += f"; {thinner}"
        return pb.StoredModel(
            model_id=model_id,
            about=about,
            uploaded=self.store.loaded_at(model_id),
            fresh_budget=self.store.manifest(model_id).fresh_budget,
        )

    def _read_model(self) -> ActiveModel | None:
        model_id = self.store.active
        if not model_id:
            return None
        store = self.store
        return ActiveModel(store.manifest(model_id), store.bundle(model_id), store.public_digest(model_id))

    def _worker_config(self, epoch: int, secret: bytes) -> WorkerConfig:
        config = self.config
        addresses = config.link_addresses() if config.gateway else (ON_THIS_MACHINE,) * config.world_size
        return WorkerConfig(
            rank=config.rank,
            peers=tuple((f"party-{rank}", address) for rank, address in enumerate(addresses)),
            settings=config.settings,
            products=config.products,
            lookup=config.lookup,
            threads=config.threads,
            lanes=config.runs.lanes,
            recv_timeout_s=config.limits.receive_s,
            connect_timeout_s=config.limits.connect_s,
            epoch=epoch,
            secret=secret,
        )


def _refused(cause: str) -> pb.ExecuteReply:
    return pb.ExecuteReply(outcome=pb.ExecuteReply.REFUSED, cause=cause)
