"""Addresses of the app: the page, its files, and the requests of its script."""

import sys
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from harness.core import html
from harness.core.errors import HarnessError
from harness.deploy.app.access import AccessGuard, AccessPolicy
from harness.deploy.app.answers import ImageRequest, answer_image, sample_thumbnail
from harness.deploy.app.downloads import (
    BatchRequest,
    MaskRequest,
    answer_batch_image,
    encode_decided,
)
from harness.deploy.app.page import PACKAGE, render_page
from harness.deploy.app.prediction_queue import PredictionQueue, RequestError, read_body
from harness.deploy.app.served_model import ModelCollection

_SCRIPTS: Final = (
    "app.js",
    "answer.js",
    "decide.js",
    "draw.js",
    "batch.js",
    "archive.js",
    "numbers.js",
)
_Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(models: ModelCollection, policy: AccessPolicy) -> ASGIApp:
    """The app as ASGI, behind its guard."""
    routes = AppRoutes(models, policy)
    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/static/{name}", routes.static),
            Route("/api/samples/{index:int}", routes.sample),
            Route("/api/predict", routes.predict, methods=["POST"]),
            Route("/api/batch", routes.batch, methods=["POST"]),
            Route("/api/mask", routes.mask, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _answer_http_error},
    )
    return AccessGuard(app, policy)


class AppRoutes:
    """Endpoints; each answers an error by one sentence in JSON."""

    def __init__(self, models: ModelCollection, policy: AccessPolicy) -> None:
        self._models = models
        self._queue = PredictionQueue()
        self._page = render_page(models, policy.csrf_token)
        style = html.read_resource("harness.core", "html.css")
        self._files = {
            name: (html.read_resource(PACKAGE, name), "text/javascript") for name in _SCRIPTS
        }
        self._files["icon.svg"] = html.read_resource(PACKAGE, "icon.svg"), "image/svg+xml"
        self._files["app.css"] = (style + html.read_resource(PACKAGE, "page.css"), "text/css")

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return HTMLResponse(self._page)

    async def static(self, request: Request) -> Response:
        """A script or the style; names are looked up in a table, never as a path."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        text, media_type = self._files[name]
        return Response(text, media_type=media_type)

    async def sample(self, request: Request) -> Response:
        """Thumbnail of a sample."""
        index = request.path_params["index"]

        async def draw() -> Response:
            png = await self._queue.run(lambda: sample_thumbnail(self._models, index))
            return Response(png, media_type="image/png")

        return await _answer(draw)

    async def predict(self, request: Request) -> Response:
        """Prediction of the body, or of a sample."""

        async def predict() -> Response:
            async with self._queue.admit():
                has_sample = "sample" in request.query_params
                image = ImageRequest(
                    key=request.query_params.get("model", ""),
                    data=await read_body(request),
                    sample=_number(request, "sample") if has_sample else None,
                )
                frame = await self._queue.run(
                    lambda: answer_image(self._models, image), request.is_disconnected
                )
            return Response(frame, media_type="application/octet-stream")

        return await _answer(predict)

    async def batch(self, request: Request) -> Response:
        """Mask and row of one of several images."""

        async def predict() -> Response:
            async with self._queue.admit():
                image = BatchRequest(
                    key=request.query_params.get("model", ""),
                    index=_number(request, "index"),
                    name=unquote(request.headers.get("x-file-name", ""), errors="replace"),
                    data=await read_body(request),
                )
                frame = await self._queue.run(
                    lambda: answer_batch_image(self._models, image), request.is_disconnected
                )
            return Response(frame, media_type="application/octet-stream")

        return await _answer(predict)

    async def mask(self, request: Request) -> Response:
        """File of a mask that the page decided with its own thresholds."""

        async def encode() -> Response:
            async with self._queue.admit():
                decided = MaskRequest(
                    height=_number(request, "height"),
                    width=_number(request, "width"),
                    values=await read_body(request),
                )
                file = await self._queue.run(
                    lambda: encode_decided(self._models, decided), request.is_disconnected
                )
            return Response(file.data, media_type=file.media_type)

        return await _answer(encode)


async def _answer(work: Callable[[], Awaitable[Response]]) -> Response:
    """Answer of an endpoint, or one sentence about its error; never a traceback."""
    try:
        return await work()
    except RequestError as error:
        # Closed, since the rest of an upload that is refused would still be read otherwise.
        headers = {"connection": "close", **({"retry-after": "2"} if error.status == 503 else {})}
        return JSONResponse({"error": str(error)}, error.status, headers)
    except (KeyError, IndexError):
        return JSONResponse({"error": "no such model or sample; reload the page"}, 404)
    except HarnessError as error:
        return JSONResponse({"error": str(error)}, 422)
    except Exception as error:  # the terminal is told, the browser is not
        sys.stderr.write(f"internal error: {type(error).__name__}: {error}\n")
        return JSONResponse({"error": "internal error; the terminal of the app names it"}, 500)


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = {404: "no such address", 405: "this address takes other requests"}
    return JSONResponse({"error": sentence.get(status, "the request is not valid")}, status)


def _number(request: Request, name: str) -> int:
    """Whole number of the query, of at most six digits. Raises RequestError."""
    text = request.query_params.get(name, "")
    # ASCII: int() reads digits of every script, and isdecimal() accepts them.
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise RequestError(400, f"{name}: must be a number; reload the page")
    return int(text)
