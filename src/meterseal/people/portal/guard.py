"""What protects people's browsers: response headers, cookies, the same-origin and token checks, the rate
limit.

It does not know who is signed in; the platform decides that for every question.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from litestar import Request
from litestar.datastructures import Cookie, MutableScopeHeaders
from litestar.types import Message, Scope

from meterseal.errors import ConsentError, LocalError
from meterseal.people.portal.settings import PortalSettings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
TRANSPORT = "max-age=31536000"
YEAR = 365 * 24 * 3600
WINDOW = 300.0
_TRACKED = 8192


def header_writer(settings: PortalSettings) -> Callable[[Message, Scope], Any]:
    """A `before_send` hook: the only place where headers reach error responses of every kind, too."""
    fixed = {**HEADERS, **({"Strict-Transport-Security": TRANSPORT} if settings.secure else {})}

    async def write(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        headers = MutableScopeHeaders.from_message(message)
        for name, value in fixed.items():
            headers[name] = value
        headers.setdefault("Cache-Control", "no-store")

    return write


class Cookies:
    """Names and flags of the portal's cookies: session (signed in), form (binds forms), language."""

    def __init__(self, settings: PortalSettings) -> None:
        prefix = "__Host-" if settings.secure else ""
        self.session, self.form, self.language = (
            f"{prefix}ms_session",
            f"{prefix}ms_form",
            f"{prefix}ms_language",
        )
        self._secure = settings.secure

    def make(self, name: str, value: str, max_age: int | None) -> Cookie:
        """A host-only cookie that no script can read and no other site can send; None lives with the
        browser.
        """
        return Cookie(
            key=name,
            value=value,
            max_age=max_age,
            path="/",
            httponly=True,
            secure=self._secure,
            samesite="strict",
        )

    def gone(self, name: str) -> Cookie:
        """The cookie that removes one."""
        return self.make(name, "", 0)


def new_form_secret() -> str:
    """Value of a fresh form cookie."""
    return secrets.token_urlsafe(24)


def form_token(form: str, session: str) -> str:
    """The hidden field of a form: bound to both cookies, masked anew each time so compression leaks
    nothing of it.
    """
    mask = secrets.token_bytes(32)
    body = bytes(a ^ b for a, b in zip(mask, _bound(form, session), strict=True))
    return base64.urlsafe_b64encode(mask + body).decode()


def check_form(request: Request[Any, Any, Any], cookies: Cookies, token: str) -> None:
    """Refuse a POST that another site caused. Raises ConsentError `portal.foreign-form`.

    The page policy is no-referrer, so browsers send `Origin: null`; Sec-Fetch-Site then tells, and the
    token always.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "null")
    if site is not None:
        ours = site == "same-origin"
    else:
        ours = origin in ("null", f"{request.url.scheme}://{request.headers.get('host', '')}")
    form = request.cookies.get(cookies.form, "")
    try:
        raw = base64.urlsafe_b64decode(token)
    except ValueError:
        raw = b""
    body = bytes(a ^ b for a, b in zip(raw[:32], raw[32:], strict=True)) if len(raw) == 64 else b""
    expected = _bound(form, request.cookies.get(cookies.session, ""))
    if not (ours and form and hmac.compare_digest(body, expected)):
        raise ConsentError(
            "portal.foreign-form",
            "This form was open too long or came from another page. Go back, reload, try again.",
        )


def _bound(form: str, session: str) -> bytes:
    return hashlib.sha256(f"meterseal form\0{form}\0{session}".encode()).digest()


class TooMany(LocalError):
    """An address made more sign-in attempts than allowed."""

    kind = "local"


class SignInLimit:
    """At most `limit` attempts per address in five minutes; remembers a bounded number of addresses."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def note(self, address: str) -> None:
        """Count one attempt. Raises TooMany `portal.too-many`."""
        now = self._clock()
        recent = [at for at in self._seen.pop(address, ()) if at > now - WINDOW]
        if len(recent) < self._limit:
            recent.append(now)
            refused = False
        else:
            refused = True
        self._seen[address] = recent
        while len(self._seen) > _TRACKED:
            self._seen.popitem(last=False)
        if refused:
            raise TooMany(
                "portal.too-many", "There were too many sign-in attempts from here. Wait five minutes."
            )
