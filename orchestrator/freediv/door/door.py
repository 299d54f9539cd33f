"""The door itself: what all its routes ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import UserError
from ..model import Text
from ..owners.data_owner import Answers, OnProgress
from ..owners.results import Wanted
from .forms import Form, form_of
from .limits import DoorLimits
from .metrics import DoorMetrics
from .pictures import read_inputs
from .refusals import refusal
from .served import Models, Served


@dataclass(frozen=True)
class Door:
    """Models behind it, how much it takes, and what it counts."""

    models: Models
    limits: DoorLimits = field(default_factory=DoorLimits)
    metrics: DoorMetrics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", DoorMetrics(self.models))

    def form(self, served: Served, wanted: Wanted | None = None) -> Form:
        """How a model's answers are said.

        Raises:
            Refusal: no deployment can be asked, or the model gives nothing of what is wanted.
        """
        try:
            form = form_of(served.model().architecture, served.able()[0].config.output)
        except UserError as error:
            raise refusal(error) from None
        if wanted is not None:
            form.insist(wanted)
        return form

    async def answer(
        self,
        served: Served,
        texts: Sequence[Text],
        on_progress: OnProgress = lambda progress: None,
        *,
        truncate: bool = False,
        of: str = "inputs",
    ) -> Answers:
        """Answers to a caller's texts, in their order.

        Args:
            served: the model.
            texts: as they were sent; of images, their content in base64.
            on_progress: told how far its parties are.
            truncate: whether what is too long is cut, not refused.
            of: what the caller calls the texts.

        Raises:
            Refusal: there are none, or not to all; says why, and its cause is what `Served.answer` raised.
        """
        started, waits = time.monotonic(), list[float]()
        try:
            images = served.reads_images()
            self.limits.insist(texts, of, images=images)
            given = await asyncio.to_thread(read_inputs, texts, of, images=images, most_pixels=self.limits.most_pixels)
            answers = await served.answer(given, on_progress, truncate=truncate, on_wait=waits.append)
        except UserError as error:
            raise refusal(error) from error
        asking = sum(waits) + sum(request.seconds for request in answers.requests)
        self.metrics.answered(len(texts), max(0.0, time.monotonic() - started - asking))
        return answers
