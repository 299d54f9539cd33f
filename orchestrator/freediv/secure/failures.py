"""Why a worker is lost. Each carries one line, fit for an operator: no text, token or share is ever in it."""


class WorkerFailed(Exception):  # noqa: N818 (an event, not a mistake)
    """The process that held the SPU runtime has ended, or can no longer be used."""


class PeerLost(WorkerFailed):
    """Another party, or the way to it, is gone."""


class ProgramMismatch(WorkerFailed):
    """The parties do not agree on what to run."""
