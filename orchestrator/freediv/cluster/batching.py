"""How requests of data owners share runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from ..yaml_file import Strict

if TYPE_CHECKING:
    from .configuration import Agreement

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Sizes, in sentences, of runs that requests share: each is compiled for once, so there are few."""


class Batching(Strict):
    """Requests of one length that wait at the same time are run together, for little more than the time of one."""

    size: int = Field(default=8, description="most sentences of a run that requests share; 1: none do")
    wait_ms: int = Field(default=0, ge=0, le=60_000, description="milliseconds to wait for more, where there is room")
    lanes: int = Field(
        default=1,
        ge=1,
        le=8,
        description="parts that a run of several sentences is computed in side by side, so that a party computes while "
        "messages travel; worth it between hosts, not on one",
    )

    def check(self, agreement: Agreement) -> None:
        """Refuse what the agreed engine cannot do.

        Raises:
            ValueError: names the key.
        """
        if self.lanes > 1 and agreement.products != "shares":
            raise ValueError("batching.lanes: more than one needs `products: shares`")

    def with_output(self, output: str) -> Batching:
        """As it is with what is revealed: where that compares a request's texts, no other request has a part in a run,
        and all of it is computed in one.
        """
        return self if output != "order" else Batching(size=1)

    @field_validator("size")
    @classmethod
    def _on_the_ladder(cls, size: int) -> int:
        if size not in BATCHES:
            raise ValueError(f"is one of {', '.join(map(str, BATCHES))}, not {size}")
        return size
