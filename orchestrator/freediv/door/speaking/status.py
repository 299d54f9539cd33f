"""`/status`: what is behind the door and whether it can be asked, what the last answers cost, who learns what."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ...model.answers import Output, answer_of
from ...monitoring import learned
from ...monitoring.table import cost_table, describe
from ...owners.costs import run_cost
from ..door import Door
from ..forms import ImageSize, Reads, form_of
from ..limits import MOST_CHARACTERS
from ..replica import Replica
from ..served import Served
from .bodies import READING_ERRORS


class PartyTold(BaseModel):
    """A party, when it was last asked."""

    rank: int
    address: str
    up: bool = Field(description="whether it could answer, if the others can")
    problem: str


class DeploymentTold(BaseModel):
    """A deployment, as this door's data owner sees it."""

    cluster: str
    up: bool
    problem: str = Field(description="why it cannot be asked; empty where it can")
    texts: int = Field(description="under way, or waiting")
    parties: list[PartyTold]


class Learner(BaseModel):
    """What somebody learns."""

    who: str
    learns: list[str]


class About(BaseModel):
    """A model that can be asked."""

    digest: str = Field(description="SHA-256 of all that is public about it")
    kind: str = Field(description="of its answers, as docs/answers.md calls them")
    kind_in_words: str
    given: str = Field(description="how much of an answer the deployment reveals")
    output: Output
    labels: list[str]
    pairs: bool = Field(description="whether it reads pairs of texts")
    reads: Reads
    image_size: ImageSize | None = Field(description="that images are brought to; null where it reads texts")
    max_input_length: int = Field(description="word pieces, or rows of an image")
    max_batch: int = Field(description="texts that its parties take at a time")
    learns: list[str] = Field(description="what may be learnt")
    learners: list[Learner]
    learned_notes: list[str]


class CostTold(BaseModel):
    """What the last answers to any caller cost."""

    about: str
    seconds: float = Field(description="that the data owner waited")
    table: dict[str, Any] = Field(description="as `freediv report --json` has it")


class ModelTold(BaseModel):
    """A model by its name."""

    name: str
    up: bool
    about: About | None = Field(description="null while no deployment can be asked")
    last: CostTold | None
    deployments: list[DeploymentTold]


class LimitsTold(BaseModel):
    """Of a request."""

    max_client_batch_size: int
    payload_limit: int = Field(description="bytes")
    image_limit: int = Field(description="bytes of a body that is an image")
    max_characters: int = Field(description="of a text")


class Status(BaseModel):
    """All that is behind the door."""

    version: str
    limits: LimitsTold
    models: list[ModelTold] = Field(description="the first is the one of callers who name none")


def routes(door: Door) -> APIRouter:
    """The path."""
    router = APIRouter(tags=["operation"])

    @router.get("/status", responses=READING_ERRORS)
    async def status() -> Status:
        """Which parties are up, what they serve, what the last answers cost, who learns what."""
        limits = door.limits
        return Status(
            version=version("freediv"),
            limits=LimitsTold(
                max_client_batch_size=limits.max_client_batch_size,
                payload_limit=limits.payload_limit,
                image_limit=limits.image_limit,
                max_characters=MOST_CHARACTERS,
            ),
            models=[_told(served) for served in door.models.all()],
        )

    return router


def _told(served: Served) -> ModelTold:
    able = served.able()
    return ModelTold(
        name=served.name,
        up=bool(able),
        about=_about(able[0]) if able else None,
        last=_cost(served),
        deployments=[_deployment(one) for one in served.replicas],
    )


def _about(replica: Replica) -> About:
    model, config = replica.model, replica.config
    assert model is not None
    architecture = model.architecture
    words = answer_of(architecture).words
    given = words.given[config.output]
    return About(
        digest=model.digest,
        kind=answer_of(architecture).name,
        kind_in_words=words.kind,
        given=given,
        output=config.output,
        labels=list(architecture.label_names),
        pairs=architecture.pairs,
        reads=form_of(architecture, config.output).reads,
        image_size=ImageSize.of(architecture),
        max_input_length=config.buckets_of(architecture)[-1],
        max_batch=config.max_batch,
        learns=list(learned.WHAT),
        learners=[Learner(who=one.who, learns=list(one.learns)) for one in learned.who_learns(config.protocol, given)],
        learned_notes=[
            learned.sizes_and_timing(architecture),
            f"{learned.holds_while(config.protocol)} {learned.INDEPENDENT}",
        ],
    )


def _deployment(replica: Replica) -> DeploymentTold:
    parties = [
        PartyTold(rank=one.rank, address=one.address, up=one.answers and one.ready, problem=one.problem)
        for one in replica.parties
    ]
    return DeploymentTold(
        cluster=replica.config.cluster, up=replica.up, problem=replica.problem, texts=replica.texts, parties=parties
    )


def _cost(served: Served) -> CostTold | None:
    spent = served.last
    if spent is None:
        return None
    run = run_cost(spent.requests, spent.architecture, spent.config, model=served.name)
    return CostTold(about=describe(run), seconds=run.seconds, table=cost_table(run))
