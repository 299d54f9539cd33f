"""The application: all routes, behind the guard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated

from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from .access import Access
from .door import Door
from .guard import OPENAI, Guard
from .refusals import Refusal
from .served import Served
from .speaking import answers, documentation, hugging_face, openai, page, status, tei
from .speaking.bodies import READING_ERRORS

MODEL = "/models/{name}"


def application(door: Door, access: Access) -> ASGIApp:
    """The door's ASGI application; while it lives, the deployments are looked after."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.ensure_future(door.models.watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    app = FastAPI(
        title="freediv",
        description="Private inference: texts, or images, are shared here, and no party sees them.",
        version=version("freediv"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.door = door
    _say_refusals(app)

    async def first() -> Served:
        return door.models.first

    async def named(name: Annotated[str, Path(description="of a model")]) -> Served:
        found = door.models.by_name.get(name)
        if found is None:
            raise Refusal(
                "Validation", f"there is no such model; there are: {', '.join(door.models.by_name)}", status=404
            )
        return found

    for room in (tei, openai, answers):
        app.include_router(room.routes(door, first))
        app.include_router(room.routes(door, named), prefix=MODEL)
    app.include_router(hugging_face.routes(door, first, "/"))
    app.include_router(hugging_face.routes(door, named, ""), prefix=MODEL)
    app.include_router(status.routes(door))
    app.include_router(page.routes(with_token=access.token is not None))
    app.include_router(documentation.routes(app))

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse, responses=READING_ERRORS)
    async def metrics() -> PlainTextResponse:
        """What the door counts, for Prometheus."""
        return PlainTextResponse(door.metrics.text(), media_type="text/plain; version=0.0.4")

    return Guard(app, access, door.limits, door.metrics)


def _say_refusals(app: FastAPI) -> None:
    """Have errors be said as text-embeddings-inference and OpenAI say them, without a word of what was sent."""

    def said(request: Request, refused: Refusal) -> JSONResponse:
        openai = request.url.path.endswith(OPENAI)
        return JSONResponse(refused.body(openai=openai), refused.status, headers=refused.headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return said(request, error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return said(request, Refusal("Validation", "the body is no JSON", status=400))
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        return said(request, Refusal("Validation", f"{where}: {first['msg']}", status=422))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        found = said(request, Refusal("Validation", str(error.detail), status=error.status_code))
        found.headers.update(error.headers or {})
        return found
