"""The local page's server: on this machine's own address alone, for whoever has the token, asking nobody for anything.

The token is part of the address, so that no other user of the machine and no other page in the browser can ask.
Requests with another host's name are refused: a name that comes to mean 127.0.0.1 is no way in (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxr_edge import __version__
from cxr_edge.errors import CxrEdgeError, UsageError
from cxr_edge.explanation import CamMethod, Method
from cxr_edge.report.page import asset, page_script, page_template, to_script_json
from cxr_edge.results.output import PICTURES
from cxr_edge.results.record import COLUMNS, RESEARCH_USE
from cxr_edge.text import printable
from cxr_edge.view.desk import MOST_FILES, Desk, ScanFolder

LOOPBACK = "127.0.0.1"
LARGEST_FILE = 256 * 1024 * 1024  # bytes of a file
_AT_ONCE = 1000  # records of a scan in one answer
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_T = TypeVar("_T")
_METHODS: dict[str, tuple[Method, CamMethod]] = {
    "gradcam": ("gradcam", "gradcam"),
    "layercam": ("gradcam", "layercam"),
    "lime": ("both", "gradcam"),
    "shap": ("shap", "gradcam"),
}


def make_app(desk: Desk, scan: ScanFolder | None, *, token: str, port: int) -> ASGIApp:
    """Make the application.

    Args:
        desk: What answers.
        scan: A scan whose results are listed as well.
        token: The first part of every path.
        port: The port that browsers ask.
    """
    answering, explaining = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    async def run(pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def page(_: Request) -> Response:
        manifest = desk.model.bundle.manifest
        header: dict[str, Any] = {
            "columns": [column.name for column in COLUMNS],
            "common": {},
            "positive": manifest.positive,
            "pictures": PICTURES,
            "key": "",
            "live": True,
            "scan": scan is not None,
            "most": MOST_FILES,
            "largest": LARGEST_FILE,
        }
        text = page_template("view.html.jinja", "cxr_edge.view").render(
            title="cxr-edge",
            version=__version__,
            research_use=RESEARCH_USE,
            bundle=manifest,
            point=manifest.operating_points.points[desk.operating_point],
            operating_point=desk.operating_point,
            most=MOST_FILES,
            header=to_script_json(header),
            entries=[to_script_json(desk.rows())[1:-1]],
        )
        return HTMLResponse(text)

    async def style(_: Request) -> Response:
        return Response(asset("report.css") + asset("view.css", "cxr_edge.view"), media_type="text/css")

    async def script(_: Request) -> Response:
        text = page_script(asset("view.js", "cxr_edge.view"))
        return Response(text, media_type="text/javascript")

    async def answer(request: Request) -> Response:
        name = printable(request.query_params.get("name", "")) or "radiograph"
        data = await _body(request)
        return JSONResponse(await run(answering, lambda: desk.answer(name, data)))

    async def explain(request: Request) -> Response:
        name = request.query_params.get("name", "")
        asked = _METHODS.get(request.query_params.get("method", ""), _METHODS["gradcam"])
        return JSONResponse(await run(explaining, lambda: desk.explain(name, *asked)))

    async def regions(request: Request) -> Response:
        return JSONResponse(desk.regions(request.query_params.get("name", "")))

    async def clear(_: Request) -> Response:
        desk.clear()
        return Response(status_code=204)

    async def rows(request: Request) -> Response:
        start = request.query_params.get("start", "0")
        if scan is None or not start.isdecimal():
            return Response(status_code=404)
        listed, end = await run(explaining, lambda: scan.rows(int(start), _AT_ONCE))
        return JSONResponse({"rows": listed, "end": end})

    async def picture(request: Request) -> Response:
        sha256, name = request.path_params["sha256"], request.path_params["name"]
        data = desk.picture(sha256, name) or (scan.picture(sha256, name) if scan else None)
        kind = "image/jpeg" if name.endswith(".jpg") else "image/png"
        return Response(status_code=404) if data is None else Response(data, media_type=kind)

    def failed(_: Request, error: Exception) -> Response:
        return PlainTextResponse(printable(str(error)), status_code=409)

    routes = [
        Route("/", page),
        Route("/page.css", style),
        Route("/page.js", script),
        Route("/answer", answer, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/regions", regions),
        Route("/clear", clear, methods=["POST"]),
        Route("/rows", rows),
        Route("/assets/{two}/{sha256}/{name}", picture),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers={CxrEdgeError: failed})
    return _guard(app, hosts={f"{LOOPBACK}:{port}", f"localhost:{port}"})


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_FILE:
            raise UsageError(f"has more than {LARGEST_FILE >> 20} MiB", cure="answer it with cxr-edge predict")
        parts.append(part)
    return b"".join(parts)


def _guard(app: ASGIApp, *, hosts: set[str]) -> ASGIApp:
    """Refuse requests that name another host or come from another page, and give every answer its headers."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        foreign = headers.get("host") not in hosts or (origin is not None and origin.partition("//")[2] not in hosts)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await (PlainTextResponse("refused", status_code=403) if foreign else app)(scope, receive, with_headers)

    return guarded


def serve(desk: Desk, scan: ScanFolder | None, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        desk: What answers.
        scan: A scan whose results are listed as well.
        port: The port; 0 takes a free one.
        ready: Called with the page's address once it can be opened.

    Raises:
        UsageError: The port is taken.
    """
    import uvicorn

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.bind((LOOPBACK, port))
    except OSError as error:
        listening.close()
        raise UsageError(f"port {port} is not free ({error.strerror})", cure="take another --port, or none") from error
    token, port = secrets.token_urlsafe(24), listening.getsockname()[1]
    app = make_app(desk, scan, token=token, port=port)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        loop="asyncio",
        http="h11",
        ws="none",
        server_header=False,
    )
    server = uvicorn.Server(config)
    listening.listen()  # what comes from now on waits for the server
    ready(f"http://{LOOPBACK}:{port}/{token}/")
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # uvicorn has ended what was running and raises the signal again
    finally:
        listening.close()
