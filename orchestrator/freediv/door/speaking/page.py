"""The page at `/`, for people: it asks `/answers` and `/status`, and loads nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..access import PAGE, PAGE_FILES

_KINDS = {".css": "text/css", ".js": "text/javascript"}
_POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
}


def routes(*, with_token: bool) -> APIRouter:
    """The page, which has a field for the token where one is wanted, and its files. None holds a secret."""
    router = APIRouter(include_in_schema=False)
    environment = Environment(
        loader=PackageLoader("freediv.door", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    content = environment.get_template("index.html.j2").render(with_token=with_token, version=version("freediv"))

    @router.get(PAGE)
    async def page() -> Response:
        return Response(content, media_type="text/html", headers=_POLICY)

    for file in files("freediv.door").joinpath("page").iterdir():
        if kind := _KINDS.get(f".{file.name.rpartition('.')[2]}"):
            router.add_api_route(f"{PAGE_FILES}{file.name}", _file(file.read_bytes(), kind), methods=["GET"])
    return router


def _file(content: bytes, kind: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def file() -> Response:
        return Response(content, media_type=kind)

    return file
