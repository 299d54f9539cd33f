"""Faults one after another, each several times, with requests going on meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..cluster.configuration import read_owner_config
from ..errors import UserError
from ..interrupts import noted_interrupts
from ..owners.data_owner import classify
from ..owners.model_owner import load_offer
from . import background
from .faults import FAULTS, Fault, Stage
from .offer import owners_offer
from .outcomes import Injection, Row
from .prometheus import Prometheus
from .scene import Scene
from .traffic import Traffic

_RECOVERY_S = 300.0
_RANKS = (1, 0, 2)
"""The party that is hit first, second, ...; then the same again."""

OnProgress = Callable[[str], None]


class Rehearsal:
    """A deployment that serves a model, its owners, and what they know to be right.

    Args:
        scene: the deployment; all parties run.
        owners: folders of the model owner and of the data owners, of which two at most ask.
        model: what the parties serve, and what is loaded again after damage; as `freediv load` takes it.
        answers: sentences and their labels; without labels, what the parties answer before the first fault is right.
        patience_s: after which a request without an answer counts as lost.
        stop_s: for how long a party is stopped.
        prometheus: address of the Prometheus that watches the parties.

    Raises:
        UserError: a party does not run, the model cannot be read, or the parties do not answer.
    """

    def __init__(
        self,
        scene: Scene,
        owners: tuple[Path, tuple[Path, ...]],
        model: str | Path,
        answers: Mapping[str, str] | Collection[str],
        *,
        patience_s: float = 240.0,
        stop_s: float = 30.0,
        prometheus: str = "http://127.0.0.1:9090",
    ) -> None:
        self._scene, self._model, self._patience_s, self._stop_s = scene, model, patience_s, stop_s
        self._model_owner, self._data_owners = owners[0], (owners[1] * 2)[:2]
        for rank in range(scene.size):
            scene.party(rank)
        self._prometheus = Prometheus(prometheus, [party.config.metrics_port for party in scene.local.parties])
        self._model_owner_config = read_owner_config(self._model_owner)
        self._offer = owners_offer(self._model_owner_config, model)
        if isinstance(answers, Mapping):
            self._answers = dict(answers)
        else:
            found = background.run(classify(read_owner_config(self._data_owners[0]), list(answers)))
            self._answers = dict(zip(answers, (one.name for one in found.predictions), strict=True))
            if found.architecture != self._offer.architecture:
                raise UserError("the parties serve another model; name theirs with --model")

    def run(
        self,
        faults: Collection[Fault] = FAULTS,
        times: int = 1,
        on_progress: OnProgress = lambda step: None,
    ) -> Iterator[Row]:
        """Inject faults, each so often; a row for each. Whatever happens, all parties run in the end.

        Raises:
            UserError: the parties did not come back, or did not do what a fault needs.
        """
        for fault in faults:
            with self._in_order():
                why = fault.impossible(self._stage(None, 0))
                if why:
                    yield Row(fault.name, fault.what, skipped=why)
                    continue
                injections = []
                for number in range(times):
                    on_progress(f"{fault.what} ({number + 1} of {times})")
                    injections.append(self._inject(fault, _RANKS[number % self._scene.size % len(_RANKS)]))
            yield Row(fault.name, fault.what, tuple(injections), falsifies=fault.falsifies)

    def _inject(self, fault: Fault, rank: int) -> Injection:
        with Traffic(self._data_owners, self._answers, self._patience_s) as traffic:
            if traffic.first(lambda one: one.outcome == "right", _RECOVERY_S) is None:
                raise UserError("the parties do not answer even before a fault; see `freediv status`")
            caused = fault.cause(self._stage(traffic, rank))
            again = traffic.first(lambda one: one.outcome == "right" and one.ended > caused.repaired, _RECOVERY_S)
            attempts = traffic.stop()
        recovery_s = again.ended - caused.repaired if again is not None else None
        told = re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24}\b", r"\1", caused.told)  # models' ids, as `freediv status` has them
        told = told.replace(f"{self._scene.local.directory}/", "")
        return Injection(attempts, recovery_s, told, caused.told_s, self._scene.left_behind())

    def _stage(self, traffic: Traffic | None, rank: int) -> Stage:
        return Stage(
            scene=self._scene,
            traffic=traffic or Traffic((), {}, 0.0),
            rank=rank,
            stop_s=self._stop_s,
            model=self._model,
            load=self._load,
            owners=(self._model_owner, self._data_owners[0]),
            sentences=tuple(sorted(self._answers)),
            prometheus=self._prometheus,
        )

    def _load(self) -> None:
        background.run(load_offer(self._model_owner_config, self._offer))

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        """Have all parties run at the end, also of a fault that broke off."""
        try:
            yield
        except BaseException:
            with noted_interrupts():
                self._scene.set_right()
            raise
