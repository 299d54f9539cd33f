"""`/docs`: what the door takes and gives, shown by Swagger UI from what is installed. Nothing comes from a network."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Response

_FILES = "fastapi_swagger.resources"
_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>freediv: what the door takes and gives</title>
<link rel="stylesheet" href="docs/{_STYLE}">
</head>
<body>
<div id="swagger"></div>
<script src="docs/{_SCRIPT}"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger", validatorUrl: null});'
_POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}


def routes(app: FastAPI) -> APIRouter:
    """The page, and its files."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def page() -> Response:
        return Response(_PAGE, media_type="text/html", headers=_POLICY)

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    for name, kind in ((_SCRIPT, "text/javascript"), (_STYLE, "text/css")):
        router.add_api_route(f"/docs/{name}", _file(name, kind), methods=["GET"])
    return router


def _file(name: str, kind: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    content = resources.files(_FILES).joinpath(name).read_bytes()

    async def file() -> Response:
        return Response(content, media_type=kind)

    return file
