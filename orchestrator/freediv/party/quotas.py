"""How much each data owner may still ask: sentences in a minute, and sentences of one model for good.

Who may ask a model without end can learn it from its answers; a budget bounds what there is to learn from. Each party
counts for itself, so no one of them can let an owner go on: an answer takes all of them. But the *shares* of an answer
that two parties give are enough to read it. So a party counts a request, on its disk, before it lets the others know
that it holds all of it: by the time that any party begins a run, all of them have counted it. It is given back where
the run did not begin, and where it broke and the parties are to blame; never because an owner went away, fell silent or
sent what cannot be run once it has begun.

**Which model.** The parties see nothing of a model's weights, so they go by what is public and their own to compare:
architecture, tokenizer and, where that is public, the word table (`ModelStore.public_digest`). Models that are alike in
these are one model to a budget: loading it again, or going back to it, does not begin anew. A model owner who wants
that says so (`freediv load --fresh-budget`), and the parties log it. Other weights in the same shape are thus counted
on; a model that differs in what is public, be it in one label's name, is another one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field

import grpc

from ..cluster.configuration import PartyConfig, Quota
from ..cluster.identity import Role
from .models.model_store import ModelStore
from .requests import Refused


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


class Claim:
    """What one request takes of its owner's quota, from `Quotas.reserve` until it is over."""

    def __init__(self, quotas: Quotas, owner: Role, digest: str, sentences: int) -> None:
        self._quotas, self._owner, self._digest, self._sentences = quotas, owner, digest, sentences
        self._spent = False

    def spend(self) -> None:
        """Take it from the owner's budget, on disk: all shares are here, and a run may begin.

        Raises:
            Refused: the disk does not take it.
        """
        self._quotas._count(self._owner, self._digest, self._sentences)
        self._quotas._reserved[self._owner, self._digest] -= self._sentences
        self._spent = True

    def close(self, *, give_back: bool) -> None:
        """The request is over. What cannot be given back on disk stays spent."""
        if not self._spent:
            self._quotas._reserved[self._owner, self._digest] -= self._sentences
        if not self._quotas._reserved[self._owner, self._digest]:
            del self._quotas._reserved[self._owner, self._digest]
        if give_back:
            self._quotas._give_back(self._owner, self._digest, self._sentences, spent=self._spent)


class Quotas:
    """What each owner has used up. Budgets are kept on the party's disk, by models' public digests."""

    def __init__(self, config: PartyConfig, store: ModelStore) -> None:
        self._config = config
        self._store = store
        self._minutes: dict[Role, _Minute] = {}
        self._reserved: defaultdict[tuple[Role, str], int] = defaultdict(int)
        self._spent: dict[str, dict[str, int]] = {}

    def reserve(self, owner: Role, digest: str, sentences: int) -> Claim:
        """Count a request that may still come to nothing.

        Raises:
            Refused: it would be more than the owner may.
        """
        left = self.left(owner, digest)
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
        self._reserved[owner, digest] += sentences
        return Claim(self, owner, digest, sentences)

    def forget(self, digest: str) -> None:
        """Begin anew with all budgets of a model, as its owner asked.

        Raises:
            OSError: the disk does not take it.
        """
        self._store.write_spent(digest, {})
        self._spent.pop(digest, None)

    def left(self, owner: Role, digest: str) -> Left:
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
            used = self._of_model(digest).get(str(owner), 0) + self._reserved.get((owner, digest), 0)
            budget = max(0, quota.budget - used)
        return Left(owner, quota, minute, budget)

    def all_left(self, digest: str) -> list[Left]:
        """What the owners have left that have a quota of their own, or have asked before.

        Raises:
            Refused: as `left`.
        """
        names = {*self._config.quotas, *(owner.name for owner in self._minutes)}
        names |= {owner.partition("/")[2] or None for owner in self._of_model(digest)}
        found = (Role(self._config.cluster, "data-owner", name=name) for name in sorted(names, key=str))
        return [self.left(owner, digest) for owner in found]

    def budgets_left(self, digest: str) -> tuple[float, ...]:
        """Of each budget that owners have of their own, or have begun to spend, the part that is left (0 to 1).

        May be called from any thread: it changes nothing. What cannot be read is left out.
        """
        try:
            spent = self._spent.get(digest) or (self._store.spent(digest) if digest else {})
        except (OSError, ValueError):
            return ()
        names = {*self._config.quotas, *(owner.partition("/")[2] or None for owner in spent)}
        owners = [Role(self._config.cluster, "data-owner", name=name) for name in names]
        budgets = {str(owner): self._config.quota_of(owner.name).budget for owner in owners}
        return tuple(max(0.0, 1 - spent.get(owner, 0) / most) for owner, most in budgets.items() if most is not None)

    def _count(self, owner: Role, digest: str, sentences: int) -> None:
        """Put so many more on an owner's count, on disk."""
        if self._config.quota_of(owner.name).budget is None:
            return
        spent = self._of_model(digest)
        after = spent | {str(owner): max(0, spent.get(str(owner), 0) + sentences)}
        try:
            self._store.write_spent(digest, after)
        except OSError as error:
            reason = f"the party cannot keep count of what was asked ({error.strerror}); tell its operator"
            raise Refused(grpc.StatusCode.ABORTED, reason) from None
        self._spent[digest] = after

    def _give_back(self, owner: Role, digest: str, sentences: int, *, spent: bool) -> None:
        if owner in self._minutes:
            minute = self._minutes[owner]
            minute.left = min(minute.most, minute.left + sentences)
        if spent:
            with contextlib.suppress(Refused):
                self._count(owner, digest, -sentences)

    def _of_model(self, digest: str) -> dict[str, int]:
        if digest not in self._spent:
            try:
                self._spent[digest] = self._store.spent(digest) if digest else {}
            except (OSError, ValueError):
                reason = "the party's count of what was asked cannot be read; tell its operator"
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, reason) from None
        return self._spent[digest]
