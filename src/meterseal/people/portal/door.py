"""The door: one-time links, passwords, leaving, language; everything a visitor can do before being known.

A link is shown before it is spent: previews and scanners that fetch it do not burn it, only the button does.
Its token stands behind the `#`, so it is in no request line, no log, no Referer and no proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect

from meterseal.errors import LocalError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.people import password
from meterseal.people.messages import (
    RedeemLink,
    SetLocale,
    SetPassword,
    SignedIn,
    SignIn,
    SignInFacts,
    SignOut,
)
from meterseal.people.portal.context import Visit, Web, local_path
from meterseal.people.portal.guard import YEAR, TooMany

_STRETCHING = asyncio.Semaphore(2)
"""argon2id takes 64 MB a call, so few run at once."""


async def _verifier(text: str, stretch: password.Stretch) -> bytes:
    async with _STRETCHING:
        return await asyncio.to_thread(password.verifier, text, stretch)


def _address(request: Web) -> str:
    return request.client.host if request.client else "unknown"


def _enter(visit: Visit, opened: SignedIn) -> Redirect:
    """Take the session into the browser; a language chosen there before stays, else the account's is used."""
    names = visit.portal.cookies
    cookies = [
        visit.cookie(names.session, opened.session, None if opened.role == "operator" else 30 * 24 * 3600)
    ]
    if names.language not in visit.request.cookies and opened.locale in visit.portal.languages:
        accepted = visit.request.headers.get("accept-language")
        cookies += [] if accepted else [visit.cookie(names.language, opened.locale, YEAR)]
    return visit.go("/", *cookies)


@get("/sign-in")
async def sign_in_page(request: Web) -> Response[bytes]:
    """The page with name and password."""
    return Visit(request).page("sign_in.html", problem="", name="")


@post("/sign-in", status_code=200)
async def sign_in(request: Web) -> Response[bytes] | Redirect:
    """Sign in with name and password."""
    visit = Visit(request)
    fields = await visit.posted()
    name = fields.get("name", "").strip().lower()[:32]
    try:
        visit.portal.limit.note(_address(request))
        stretch = await visit.ask(SignInFacts(name), password.Stretch)
        proof = await _verifier(fields.get("password", "")[: password.LONGEST], stretch)
        return _enter(visit, await visit.ask(SignIn(name, proof), SignedIn))
    except (TrustError, TooMany) as error:
        status = 429 if error.code.endswith("too-many") else 403
        return visit.page(
            "sign_in.html", status, problem=visit.sentence(error.code, error.message), name=name
        )


@get("/in")
async def link_page(request: Web) -> Response[bytes]:
    """The landing page of a one-time link: the token is the address's fragment, which no server is sent."""
    return Visit(request).page("link.html")


@post("/in", status_code=200)
async def redeem_link(request: Web) -> Response[bytes] | Redirect:
    """Spend a one-time link."""
    visit = Visit(request)
    fields = await visit.posted()
    token = fields.get("link") or fields.get("code", "")
    try:
        visit.portal.limit.note(_address(request))
        return _enter(visit, await visit.ask(RedeemLink(token.strip().rpartition("#")[2][:64]), SignedIn))
    except (TrustError, TooMany) as error:
        status = 429 if error.code.endswith("too-many") else 403
        return visit.page("sign_in.html", status, problem=visit.sentence(error.code, error.message), name="")


@post("/sign-out", status_code=200)
async def sign_out(request: Web) -> Redirect:
    """End the session here and on the platform."""
    visit = Visit(request)
    await visit.posted()
    await visit.ask(SignOut(visit.session), Empty)
    return visit.go("/sign-in", visit.portal.cookies.gone(visit.portal.cookies.session))


@post("/language", status_code=200)
async def choose_language(request: Web) -> Redirect:
    """Choose a language; it sticks to the browser for a year and to the account that is signed in."""
    visit = Visit(request)
    fields = await visit.posted()
    code = fields.get("language", "")
    if code not in visit.portal.languages:
        raise LocalError("portal.request", "There is no such language here.")
    if visit.session:
        with contextlib.suppress(TrustError):  # signed out meanwhile: the browser still remembers
            await visit.ask(SetLocale(visit.session, code), Empty)
    return visit.go(
        local_path(fields.get("to", "/")), visit.cookie(visit.portal.cookies.language, code, YEAR)
    )


@get("/account")
async def account_page(request: Web, done: FromQuery[str] = "") -> Response[bytes]:
    """Sign-in name, password, and who can see the data."""
    visit = Visit(request)
    await visit.signed_in()
    return visit.page("account.html", problem="", done=done == "password")


@post("/account/password", status_code=200)
async def set_password(request: Web) -> Response[bytes] | Redirect:
    """Set a password; only its verifier leaves this process."""
    visit = Visit(request)
    fields = await visit.posted()
    await visit.signed_in()
    chosen = fields.get("password", "")
    try:
        password.check_strength(chosen)
        _check_repeat(chosen, fields.get("again", ""))
    except LocalError as error:
        return visit.page("account.html", 400, problem=visit.sentence(error.code, error.message), done=False)
    stretch = password.Stretch(secrets.token_bytes(password.SALT))
    proof = await _verifier(chosen, stretch)
    question = SetPassword(
        visit.session, stretch.salt, stretch.passes, stretch.memory_kib, stretch.lanes, proof
    )
    await visit.ask(question, Empty)
    return visit.go("/account?done=password")


def _check_repeat(chosen: str, again: str) -> None:
    if chosen != again:
        raise LocalError("portal.password-repeat", "The two passwords differ. Type the same one twice.")


HANDLERS = [
    sign_in_page,
    sign_in,
    link_page,
    redeem_link,
    sign_out,
    choose_language,
    account_page,
    set_password,
]
