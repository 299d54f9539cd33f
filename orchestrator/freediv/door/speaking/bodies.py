"""What bodies have in common, whoever's they are, and what is said of those that cannot be answered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...model import Text
from ..pictures import KINDS
from ..refusals import ErrorResponse, Refusal
from ..served import Served

Find = Callable[..., Coroutine[Any, Any, Served]]
"""Which model a request is for: a dependency of its route."""

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "There is no text, or no JSON",
        401: "No token",
        403: "Another site asks, or the door is called by another name",
        404: "There is no such model",
        408: "The body took too long",
        413: "Too many texts, or too long",
        415: "Neither JSON nor an image",
        422: "Not what is expected here",
        424: "The model does not answer so, or its parties failed",
        429: "The quota or the queue is full; see Retry-After",
        503: "No deployment can be asked",
        504: "Not answered in time",
    }.items()
}
READING_ERRORS: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 403, 404, 503)}
"""Of what has no body."""


OR_IMAGE: dict[str, Any] = {
    "requestBody": {
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS},
        "description": "JSON; or of a model that reads images, one image as it is, or in JSON, each text an image in "
        "base64.",
    }
}
"""Of paths that take an image in place of a text."""


class Body(BaseModel):
    """What is common to bodies: fields that nobody asked for are not read."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Truncating(Body):
    """A body whose texts may be cut."""

    truncate: bool | None = Field(default=False, description="Cut what is too long, not refuse it.")
    truncation_direction: Literal["left", "Left", "right", "Right"] = Field(
        default="Right", description="Texts are cut at their end: only Right."
    )

    def cuts(self) -> bool:
        """Whether texts are to be cut.

        Raises:
            Refusal: at their beginning.
        """
        if self.truncate and self.truncation_direction in ("left", "Left"):
            raise Refusal("Tokenizer", "texts are cut at their end; `truncation_direction` can only be Right")
        return bool(self.truncate)


def text_of(parts: list[str]) -> Text:
    """One text, or a pair.

    Raises:
        Refusal: neither.
    """
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        return parts[0], parts[1]
    raise Refusal("Tokenizer", f"`inputs` has {len(parts)} texts in place of one or a pair")
