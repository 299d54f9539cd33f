"""A worker's process in which a run goes wrong where its name says: `RANK STEP ERROR`."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from freediv.errors import UserError
from freediv.mpc.link.failures import WorkerFailed
from freediv.mpc.worker import child

STEPS = {
    "terms": (child, "check_inputs"),
    "prepare": (child.Party, "prepare"),
    "agreement": (child.Party, "_agree_on"),
    "records": (child, "Records"),
    "stage": (child.Records, "add"),
    "output": (child, "RunResult"),
}
"""Where: an object, and the name of something in it that is called during a run."""
OURS = {"UserError": UserError, "WorkerFailed": WorkerFailed}
_now: list[tuple[str, str]] = []


def _failing(step: str, whole: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        for due, error in _now:
            if due == step:
                raise (OURS.get(error) or getattr(builtins, error))("secret")
        return whole(*arguments, **more)

    return call


def _listening(whole: Callable[..., Any]) -> Callable[..., Any]:
    def run(party: Any, command: Any, report: Any) -> Any:
        rank, step, error = (*command.request_id.split(), "", "")[:3]
        _now[:] = [(step, error)] if rank == str(party._config.rank) else []
        return whole(party, command, report)

    return run


for step, (place, name) in STEPS.items():
    setattr(place, name, _failing(step, getattr(place, name)))
child.Party.run = _listening(child.Party.run)  # type: ignore[method-assign]

if __name__ == "__main__":
    child.main()
