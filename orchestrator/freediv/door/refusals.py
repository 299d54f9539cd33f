"""What is said in HTTP of a request that gets no answer: status and kind as text-embeddings-inference has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from ..errors import UserError
from ..owners.data_owner import PartlyAnswered
from ..owners.sentences import EmptyText, UnfitImage, UnfitText
from ..wire.channels import Busy, Exhausted
from .served import NotServed

Kind = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty", "Unauthorized"]

STATUS: dict[Kind, int] = {
    "Unhealthy": 503,
    "Backend": 424,
    "Overloaded": 429,
    "Validation": 413,
    "Tokenizer": 422,
    "Empty": 400,
    "Unauthorized": 401,
}


class ErrorResponse(BaseModel):
    """Why there is no answer."""

    error: str
    error_type: Kind


class OpenAIErrorResponse(BaseModel):
    """The same, where OpenAI's clients ask."""

    message: str
    code: int
    type: Kind


class Refusal(Exception):  # noqa: N818 (an answer, not a mistake)
    """A request gets no answer: why, in one line without a word of its texts.

    Attributes:
        status: of HTTP, where it is not the kind's.
        retry_after_s: after which the same request may be answered.
        beside: what else is said of it, to callers who read that.
    """

    def __init__(
        self, kind: Kind, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status or STATUS[kind]
        self.retry_after_s = retry_after_s
        self.beside: Mapping[str, object] = {}

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        found = {} if self.retry_after_s is None else {"retry-after": str(max(1, math.ceil(self.retry_after_s)))}
        return found | ({"www-authenticate": "Bearer"} if self.status == 401 else {})

    def body(self, *, openai: bool) -> dict[str, object]:
        """Of the response, in the words of whom it is for."""
        if openai:
            return OpenAIErrorResponse(message=str(self), code=self.status, type=self.kind).model_dump()
        return ErrorResponse(error=str(self), error_type=self.kind).model_dump() | dict(self.beside)


def refusal(error: UserError) -> Refusal:
    """What an error of the owner's part means to a caller."""
    if isinstance(error, PartlyAnswered) and isinstance(error.__cause__, UserError):
        return refusal(error.__cause__)
    if isinstance(error, UnfitText):
        return _unfit(error)
    if isinstance(error, Busy):
        return Refusal("Overloaded", str(error), retry_after_s=error.retry_after_s)
    if isinstance(error, Exhausted):
        return Refusal("Overloaded", str(error))
    if isinstance(error, NotServed):
        return Refusal("Unhealthy", str(error), retry_after_s=1)
    return Refusal("Backend", str(error))


def _unfit(error: UnfitText) -> Refusal:
    if isinstance(error, UnfitImage):
        return Refusal("Validation", f"image {error.row} {error.reason}", status=422)
    return Refusal("Empty" if isinstance(error, EmptyText) else "Validation", f"text {error.row} {error.reason}")
