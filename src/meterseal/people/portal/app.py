"""The web application: routes, headers, error pages. `create_app` is the whole of it.

It listens nowhere (see `serve`) and knows no store.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import structlog
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send

from meterseal.errors import ConsentError, EngineError, MetersealError, TrustError
from meterseal.mesh.rpc import Rpc
from meterseal.people.portal import assets, door, editor, ledger, operator, resident, trials, words
from meterseal.people.portal.context import Portal, Visit, Web
from meterseal.people.portal.guard import header_writer
from meterseal.people.portal.settings import PortalSettings

LARGEST_FORM = 16 * 1024


def create_app(queries: Rpc, settings: PortalSettings) -> Litestar:
    """The portal as an ASGI application; `queries` leads to the platform.

    Raises LocalError `portal.not-built` when styles, scripts or catalogues are not there.
    """
    portal = Portal(queries, settings)
    return Litestar(
        route_handlers=[
            static,
            favicon,
            robots,
            *door.HANDLERS,
            *resident.HANDLERS,
            *operator.HANDLERS,
            *editor.HANDLERS,
            *trials.HANDLERS,
            *ledger.HANDLERS,
        ],
        state=State({"portal": portal}),
        before_send=[header_writer(settings)],
        middleware=[hosts(frozenset(settings.hosts))] if settings.hosts else [],
        exception_handlers={
            MetersealError: refused,
            HTTPException: not_understood,
            Exception: broken,
        },
        openapi_config=None,
        logging_config=None,
        request_max_body_size=LARGEST_FORM,
    )


def hosts(known: frozenset[str]) -> Any:
    """A middleware that answers only to our own names: a foreign name bound to our address reads nothing."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
                if host not in known and host.rpartition(":")[0] not in known:
                    await send(
                        {"type": "http.response.start", "status": 421, "headers": [(b"content-length", b"0")]}
                    )
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
            await app(scope, receive, send)

        return check

    return wrap


# --- files -----------------------------------------------------------------------------------------------


@get("/static/{name:str}")
async def static(request: Web, name: FromPath[str]) -> Response[bytes]:
    """A built file; its name changes with its content, so browsers keep it."""
    found = request.app.state.portal.assets.get(PurePath(name).name)
    if found is None:
        raise NotFoundException
    return _file(request, found, assets.FOREVER)


@get("/favicon.ico")
async def favicon(request: Web) -> Response[bytes]:
    """What every browser asks for by itself."""
    return _file(request, request.app.state.portal.assets.named("favicon.svg"), "public, max-age=86400")


@get("/robots.txt", media_type="text/plain")
async def robots() -> str:
    """Nothing here is for search engines."""
    return "User-agent: *\nDisallow: /\n"


def _file(request: Web, asset: assets.Asset, cache: str) -> Response[bytes]:
    headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.gzipped, media_type=asset.media_type, headers=headers)
    return Response(asset.plain, media_type=asset.media_type, headers=headers)


# --- errors ----------------------------------------------------------------------------------------------


def _status(error: MetersealError) -> int:
    if error.code == "portal.foreign-form":
        return 403
    if error.code.endswith("not-found") or isinstance(error, ConsentError):
        return 404
    if error.code.endswith("too-many"):
        return 429
    if isinstance(error, EngineError):
        return 503
    return 401 if isinstance(error, TrustError) else 400


def refused(request: Request[Any, Any, Any], error: MetersealError) -> Response[Any]:
    """An error of the tree: a problem sentence in the visitor's language; whoever is signed out goes to
    the door.
    """
    visit = Visit(request)
    if error.code == "people.session":
        gone = visit.portal.cookies.gone(visit.portal.cookies.session)
        if "hx-request" in request.headers:
            return Response(b"", status_code=401, headers={"HX-Redirect": "/sign-in"}, cookies=[gone])
        if request.method == "GET" and request.url.path.endswith("/series"):
            return Response(b"", status_code=401, cookies=[gone])
        return visit.go("/sign-in", gone)
    status = _status(error)
    code = "portal.engine" if status == 503 else "people.not-found" if status == 404 else error.code
    if status == 503:
        structlog.get_logger("meterseal.portal").error(
            "portal.engine", code=error.code, route=_route(request)
        )
    return _problem(visit, status, code, error.message)


def not_understood(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework refused: unknown paths, wrong methods, wrong forms."""
    if error.status_code >= 500:
        return broken(request, error)
    missing = error.status_code in (404, 405)
    return _problem(
        Visit(request), 404 if missing else 400, "portal.not-found" if missing else "portal.request", ""
    )


def broken(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A fault of ours: logged by place and kind, never with an address or a value from the request."""
    where, trace = "", error.__traceback__
    while trace is not None:
        where, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
    structlog.get_logger("meterseal.portal").error(
        "portal.fault", fault=type(error).__name__, where=where, route=_route(request)
    )
    return _problem(Visit(request), 500, "portal.fault", "")


def _route(request: Request[Any, Any, Any]) -> str:
    """The pattern of the address, never the address: it may hold a token."""
    return str(request.scope.get("path_template") or "unknown")


def _problem(visit: Visit, status: int, code: str, otherwise: str) -> Response[bytes]:
    title = visit.language.gettext(words.TITLES.get(status, words.TITLES[400]))
    return visit.page(
        "problem.html", status, title=title, sentence=visit.sentence(code, otherwise), code=code
    )
