"""What the page asks: every kind of answer in one form, and what was answered of a request that fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from ...model.answers import Prediction
from ...owners.data_owner import PartlyAnswered
from ...owners.sentences import UnfitText
from ..door import Door
from ..forms import Form, Labelled
from ..refusals import ErrorResponse, Refusal
from ..served import Served
from .bodies import ERRORS, OR_IMAGE, Find, Truncating, text_of
from .tei import One


class AnswersRequest(Truncating):
    """Texts, or pairs of them; or an image."""

    inputs: str | Annotated[list[One], Field(min_length=1)] = Field(examples=[[["a warm and funny film"]]])


class Answered(BaseModel):
    """A text's answer."""

    answer: str = Field(description="for people, on one line")
    answered: bool = Field(description="false where the model could be wrong, and so gave none")
    scores: list[Labelled] | None = Field(
        description="of all labels, the best first, where a deployment of a classifier reveals them"
    )
    entry: dict[str, Any] = Field(description="as `freediv infer --json` has it")


class AnswersResponse(BaseModel):
    """In the order of the texts."""

    answers: list[Answered]


class NotAllAnswered(ErrorResponse):
    """Why there is no answer to all, and those that there are."""

    row: int | None = Field(default=None, description="of the text that the model cannot read, from 0")
    reason: str | None = Field(default=None, description="why it cannot")
    answers: list[Answered | None] | None = Field(default=None, description="null for texts without one")


def routes(door: Door, find: Find) -> APIRouter:
    """The path, for models that `find` finds in a request."""
    router = APIRouter(tags=["page"])

    @router.post(
        "/answers",
        openapi_extra=OR_IMAGE,
        responses=ERRORS | {status: {"model": NotAllAnswered} for status in (413, 422, 424, 429, 503)},
    )
    async def answers(body: AnswersRequest, served: Served = Depends(find)) -> AnswersResponse:
        """Answers of any kind. Where only some texts have one, the error has these, so that none is asked for twice."""
        form, texts = door.form(served), [text_of(one) for one in _several(body.inputs)]
        try:
            found = await door.answer(served, texts, truncate=body.cuts())
        except Refusal as refused:
            refused.beside = _beside(form, refused.__cause__, len(texts))
            raise
        return AnswersResponse(answers=[_told(form, one) for one in found.predictions])

    return router


def _several(inputs: str | list[list[str]]) -> list[list[str]]:
    return [[inputs]] if isinstance(inputs, str) else inputs


def _told(form: Form, one: Prediction) -> Answered:
    sure = form.labels(one, raw=False) if form.reading.gives == ("labels",) and one.logits is not None else None
    return Answered(answer=one.name, answered=one.answered, scores=sure, entry=one.entry())


def _beside(form: Form, cause: BaseException | None, count: int) -> Mapping[str, object]:
    if isinstance(cause, UnfitText):
        return {"row": cause.row, "reason": cause.reason}
    if not isinstance(cause, PartlyAnswered):
        return {}
    told = dict(zip(cause.rows, (_told(form, one).model_dump() for one in cause.answers.predictions), strict=True))
    return {"answers": [told.get(row) for row in range(count)]}
