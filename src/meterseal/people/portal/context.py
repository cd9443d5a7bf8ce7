"""What every page shares: the way to the platform, who is signed in, rendering in the right language.

It has no page of its own.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import date
from typing import Any, TypeVar

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect
from msgspec import Struct

from meterseal.errors import ConsentError, LocalError
from meterseal.mesh.rpc import Rpc
from meterseal.people.messages import Me, MeFacts, method_of
from meterseal.people.portal import guard, words
from meterseal.people.portal.assets import Assets
from meterseal.people.portal.i18n import NAMES, Language, load_languages, negotiate
from meterseal.people.portal.settings import PortalSettings
from meterseal.utility.calendar import midnight

T = TypeVar("T", bound=Struct)
Web = Request[Any, Any, Any]
_WORTH_PACKING = 1400


class Portal:
    """The shared parts of one portal; made once, kept in `app.state.portal`."""

    def __init__(self, queries: Rpc, settings: PortalSettings) -> None:
        self.queries = queries
        self.settings = settings
        self.cookies = guard.Cookies(settings)
        self.limit = guard.SignInLimit(settings.sign_ins)
        self.assets = Assets(settings.static)
        self.languages = load_languages(settings.locale)
        for language in self.languages.values():
            language.environment.globals.update(
                asset=self.assets.url,
                say=words.speaker(language.gettext),
                knows=words.knows,
                refused=lambda code, text, say=language.gettext: words.sentence(
                    say, code, text, words.REFUSED
                ),
                part_class=words.part_class,
                assurances=words.assurances,
                known_refusal=lambda code: code in words.REFUSED,
                languages=NAMES,
                tags={code: other.tag for code, other in self.languages.items()},
                language=language,
            )


class Visit:
    """One request: its language, its session, and the answers made for it."""

    def __init__(self, request: Web) -> None:
        self.request = request
        self.portal: Portal = request.app.state.portal
        chosen = request.cookies.get(self.portal.cookies.language, "")
        code = (
            chosen
            if chosen in self.portal.languages
            else negotiate(request.headers.get("accept-language", ""))
        )
        self.language: Language = self.portal.languages[code]
        self.session = request.cookies.get(self.portal.cookies.session, "")
        self.form = request.cookies.get(self.portal.cookies.form, "") or guard.new_form_secret()
        self.me: MeFacts | None = None

    async def ask(self, question: Struct, reply: type[T]) -> T:
        """Ask the platform; the method is named by the question's type: OperatorHome ->
        people.operator_home.
        """
        return await self.portal.queries.call(method_of(type(question)), question, reply)

    async def signed_in(self, role: str | None = None) -> MeFacts:
        """Who is signed in. TrustError `people.session` when nobody is; ConsentError for another role."""
        self.me = await self.ask(Me(self.session), MeFacts)
        if role is not None and self.me.role != role:
            raise ConsentError("people.not-found", "There is nothing at this address that you may see.")
        return self.me

    async def posted(self) -> Mapping[str, str]:
        """Fields of the form that was sent. ConsentError `portal.foreign-form` when another site sent it."""
        fields = {
            name: value for name, value in (await self.request.form()).items() if isinstance(value, str)
        }
        guard.check_form(self.request, self.portal.cookies, fields.get("token", ""))
        return fields

    def sentence(self, code: str, otherwise: str) -> str:
        """The sentence of an error in this visit's language."""
        return words.sentence(self.language.gettext, code, otherwise)

    def page(self, template: str, /, status: int = 200, **values: Any) -> Response[bytes]:
        """Render a template. Sets the form cookie where the browser has none yet."""
        html = self.language.environment.get_template(template).render(
            me=self.me,
            path=self.request.url.path,
            form_token=lambda: guard.form_token(self.form, self.session),
            **values,
        )
        response = self.packed(html.encode(), "text/html", status)
        response.headers["Content-Language"] = self.language.tag
        response.headers["Vary"] = "Accept-Language, Accept-Encoding, Cookie"
        if self.portal.cookies.form not in self.request.cookies:
            response.set_cookie(self.cookie(self.portal.cookies.form, self.form, None))
        return response

    def packed(self, body: bytes, media_type: str, status: int = 200) -> Response[bytes]:
        """A response, gzipped where that is worth it and the browser takes it."""
        headers = {}
        if len(body) > _WORTH_PACKING and "gzip" in self.request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 5)
            headers["Content-Encoding"] = "gzip"
        return Response(body, media_type=media_type, status_code=status, headers=headers)

    def cookie(self, name: str, value: str, max_age: int | None) -> Cookie:
        """A cookie with the portal's flags."""
        return self.portal.cookies.make(name, value, max_age)

    def go(self, path: str, *cookies: Cookie) -> Redirect:
        """See other: the answer to every accepted form."""
        return Redirect(path, status_code=303, cookies=list(cookies))


def day_of(text: str) -> int:
    """Midnight of a local day that an address names, 2026-11-21. LocalError `portal.request`."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 1971 <= day.year < 2100:
        raise LocalError("portal.request", "The address is not one this portal knows. Go back and try again.")
    return midnight(day)


def local_path(path: str) -> str:
    """A path of ours to go back to; anything else becomes the first page."""
    inside = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if inside and not path.startswith("/static/") else "/"
