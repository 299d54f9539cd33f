"""How much each data owner may still ask: sentences in a minute, and sentences of one model for good.

Who may ask a model without end can learn it from its answers; a budget bounds what there is to learn from. Each party
counts for itself, so no one of them can let an owner go on: an answer takes all of them.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field

import grpc

from .config import PartyConfig, Quota
from .identity import Role
from .requests import Refused
from .store import ModelStore


@dataclass
class _Minute:
    """Sentences that an owner may send now: refilled evenly, up to one minute's."""

    rate: float
    most: float
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = self.most, time.monotonic()

    def refill(self) -> float:
        now = time.monotonic()
        self.left = min(self.most, self.left + (now - self.at) * self.rate / 60)
        self.at = now
        return self.left


@dataclass(frozen=True)
class Left:
    """What an owner may ask, and what of it is left; None: without limit."""

    owner: Role
    quota: Quota
    this_minute: int | None
    budget: int | None


class Quotas:
    """What each owner has used up. Budgets are kept on the party's disk, with the model that they are for."""

    def __init__(self, config: PartyConfig, store: ModelStore) -> None:
        self._config = config
        self._store = store
        self._minutes: dict[Role, _Minute] = {}
        self._reserved: defaultdict[tuple[Role, str], int] = defaultdict(int)
        self._spent: dict[str, dict[str, int]] = {}

    def reserve(self, owner: Role, model_id: str, sentences: int) -> None:
        """Count a request, as long as it is under way.

        Raises:
            Refused: it would be more than the owner may.
        """
        left = self.left(owner, model_id)
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        if left.budget is not None and sentences > left.budget:
            raise Refused(
                exhausted,
                f"of the {left.quota.budget} sentences that {owner} may ask of this model {left.budget} are left, "
                f"and {sentences} were sent; the parties' operators decide on more",
                limit="budget",
            )
        if left.this_minute is not None:
            minute = self._minutes[owner]
            if sentences > minute.left:
                wait = math.ceil((sentences - minute.left) * 60 / minute.rate)
                reason = f"{owner} may send {minute.rate:g} sentences a minute"
                raise Refused(exhausted, reason, retry_after_s=max(1, wait), limit="rate")
            minute.left -= sentences
        self._reserved[owner, model_id] += sentences

    def release(self, owner: Role, model_id: str, sentences: int, *, answered: bool) -> None:
        """A request is over. One without an answer costs nothing."""
        self._reserved[owner, model_id] -= sentences
        if not self._reserved[owner, model_id]:
            del self._reserved[owner, model_id]
        if not answered and owner in self._minutes:
            minute = self._minutes[owner]
            minute.left = min(minute.most, minute.left + sentences)

    def spend(self, owner: Role, model_id: str, sentences: int) -> None:
        """Take an answer from its owner's budget, on disk, before it is handed out.

        Raises:
            Refused: the disk does not take it.
        """
        if self._config.quota_of(owner.name).budget is None:
            return
        spent = self._of_model(model_id)
        after = spent | {str(owner): spent.get(str(owner), 0) + sentences}
        try:
            self._store.write_spent(model_id, after)
        except OSError as error:
            reason = f"the party cannot keep count of what was asked ({error.strerror}); tell its operator"
            raise Refused(grpc.StatusCode.ABORTED, reason) from None
        self._spent[model_id] = after

    def left(self, owner: Role, model_id: str) -> Left:
        """What an owner may still ask of a model.

        Raises:
            Refused: what is spent cannot be read.
        """
        quota = self._config.quota_of(owner.name)
        minute = budget = None
        if quota.sentences_per_minute is not None:
            rate = quota.sentences_per_minute
            most = max(rate, self._config.max_batch)  # or the largest request could never be sent
            minute = math.floor(self._minutes.setdefault(owner, _Minute(rate, most)).refill())
        if quota.budget is not None:
            used = self._of_model(model_id).get(str(owner), 0) + self._reserved.get((owner, model_id), 0)
            budget = max(0, quota.budget - used)
        return Left(owner, quota, minute, budget)

    def all_left(self, model_id: str) -> list[Left]:
        """What the owners have left that have a quota of their own, or have asked before.

        Raises:
            Refused: as `left`.
        """
        names = {*self._config.quotas, *(owner.name for owner in self._minutes)}
        names |= {owner.partition("/")[2] or None for owner in self._of_model(model_id)}
        found = (Role(self._config.cluster, "data-owner", name=name) for name in sorted(names, key=str))
        return [self.left(owner, model_id) for owner in found]

    def budgets_left(self, model_id: str) -> tuple[float, ...]:
        """Of each budget that owners have of their own, or have begun to spend, the part that is left (0 to 1).

        May be called from any thread: it changes nothing. What cannot be read is left out.
        """
        try:
            spent = self._spent.get(model_id) or (self._store.spent(model_id) if model_id else {})
        except (OSError, ValueError):
            return ()
        names = {*self._config.quotas, *(owner.partition("/")[2] or None for owner in spent)}
        owners = [Role(self._config.cluster, "data-owner", name=name) for name in names]
        budgets = {str(owner): self._config.quota_of(owner.name).budget for owner in owners}
        return tuple(max(0.0, 1 - spent.get(owner, 0) / most) for owner, most in budgets.items() if most is not None)

    def _of_model(self, model_id: str) -> dict[str, int]:
        if model_id not in self._spent:
            try:
                self._spent[model_id] = self._store.spent(model_id) if model_id else {}
            except (OSError, ValueError):
                reason = "the party's count of what was asked cannot be read; tell its operator"
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, reason) from None
        return self._spent[model_id]
