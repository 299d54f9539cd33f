"""A party that deviates, for a rehearsal: `freediv party`, but for its worker (`deviating_worker`).

It is a program of its own, `python -m freediv.chaos.deviating_party`, that nothing but `Scene.deviating` starts: there
is no setting by which a party could become one.
"""

from __future__ import annotations

import runpy

from ..mpc.worker.worker import Worker


def main() -> None:
    """Be that party."""
    Worker.program = "freediv.chaos.deviating_worker"
    runpy.run_module("freediv", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
