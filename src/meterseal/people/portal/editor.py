"""Pages on which operators edit readings: a day with its chart, what an edit does before it is saved, what waits, undo.

It decides nothing and computes no register; it asks the platform, and shows its refusal with everything that was typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from msgspec import Struct

from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.people.edit_messages import (
    EditFile,
    EditLooked,
    EditView,
    OperatorAgree,
    OperatorDay,
    OperatorDayPage,
    OperatorDecline,
    OperatorEdit,
    OperatorEditFile,
    OperatorEditLook,
    OperatorEdits,
    OperatorEditsPage,
    OperatorEditView,
    OperatorUndo,
    OperatorUndoLook,
)
from meterseal.people.portal import days
from meterseal.people.portal.context import Visit, Web, day_of
from meterseal.utility.calendar import ZONE

LONGEST = 12 * 1024
"""Bytes of a file that officers signed."""
KINDS = ("again", "use", "good", "point")
POINTS = ("good", "point")
SHOWN_FOR = ("edit.", "security.", "people.period")
"""Refusals that the form answers itself; all others are pages of their own."""
OVERTAKEN = "edit.overtaken"


class Form(Struct, frozen=True, kw_only=True):
    """What stands in the form, as it was typed."""

    what: str = "again"
    method: str = ""
    total: str = ""
    register: str = ""
    since: str = ""
    until: str = ""
    at: str = ""
    reason: str = ""


# --- a day -----------------------------------------------------------------------------------------------


@get("/fleet/meters/{usage_point:str}/edit")
async def edit_page(request: Web, usage_point: FromPath[str], day: FromQuery[str] = "") -> Response[bytes]:
    """A day of a usage point, to be edited; without a day that of the newest reading."""
    visit = Visit(request)
    await visit.signed_in("operator")
    page = await _day(visit, usage_point, day)
    return _shown(visit, page, _proposal(page))


@post("/fleet/meters/{usage_point:str}/edit", status_code=200)
async def edit(
    request: Web, usage_point: FromPath[str], day: FromQuery[str] = ""
) -> Response[bytes] | Redirect:
    """Show what an edit would do, or save it as it was shown."""
    visit = Visit(request)
    fields = await visit.posted()
    await visit.signed_in("operator")
    page = await _day(visit, usage_point, day)
    form = Form(**{name: fields.get(name, "")[:500] for name in Form.__struct_fields__})
    looked: EditLooked | None = None
    try:
        wish = _wish(form, page)
        if fields.get("action") == "save":
            try:
                kept = await visit.ask(_saving(visit, usage_point, wish, form, fields), EditView)
            except MetersealError as error:
                if error.code != OVERTAKEN:
                    raise
                looked = await visit.ask(_look(visit, usage_point, wish), EditLooked)
                return _shown(visit, page, form, looked, error)
            return visit.go(f"/fleet/edits/{kept.edit.number}")
        looked = await visit.ask(_look(visit, usage_point, wish), EditLooked)
    except MetersealError as error:
        if not error.code.startswith(SHOWN_FOR):
            raise
        return _shown(visit, page, form, looked, error)
    return _shown(visit, page, form, looked)


def _look(visit: Visit, usage_point: str, wish: Mapping[str, Any]) -> OperatorEditLook:
    return OperatorEditLook(session=visit.session, usage_point=usage_point, **wish)


def _saving(
    visit: Visit, usage_point: str, wish: Mapping[str, Any], form: Form, fields: Mapping[str, str]
) -> OperatorEdit:
    return OperatorEdit(
        session=visit.session, usage_point=usage_point, **wish, reason=form.reason, seen=_seen(fields)
    )


async def _day(visit: Visit, usage_point: str, day: str) -> OperatorDayPage:
    since = day_of(day) if day else 0
    return await visit.ask(OperatorDay(visit.session, usage_point, since), OperatorDayPage)


def _proposal(page: OperatorDayPage) -> Form:
    """What the form begins with: the time from the last good register before a doubtful one to the first after it."""
    doubtful = [one.end_at for one in page.readings if one.quality.name not in ("MEASURED", "EDITED")]
    measured = [one.end_at for one in page.readings if one.quality.name in ("MEASURED", "EDITED")]
    since, until = page.since, page.until
    if doubtful:
        since = max((at for at in measured if at < doubtful[0]), default=since)
        until = min((at for at in measured if at > doubtful[-1]), default=until)
    suspect = next((one.end_at for one in page.readings if one.quality.name == "SUSPECT"), None)
    return Form(
        what="again" if suspect is None else "good",
        since=_typed(since),
        until=_typed(until),
        at=_typed(suspect or (doubtful[0] if doubtful else until)),
    )


def _wish(form: Form, page: OperatorDayPage) -> dict[str, Any]:
    """The fields of a wish. LocalError `edit.time`, `edit.wish`, `edit.nothing-there`."""
    if form.what not in KINDS:
        raise LocalError("edit.wish", "Say what is to be done.")
    if form.what not in POINTS:
        period = {"since": _instant(form.since), "until": _instant(form.until)}
        if form.what == "again":
            return period | {"method": form.method}
        if not form.total.strip():
            raise LocalError("edit.wish", "Say how much was used.")
        return period | {"total": form.total.strip()}
    at = _instant(form.at)
    register = form.register.strip()
    if form.what == "good":
        found = next((one for one in page.readings if one.end_at == at), None)
        if found is None or found.register is None:
            raise LocalError(
                "edit.nothing-there", "At this time there is no value that could be taken as good."
            )
        register = format(Decimal(found.register).scaleb(page.exponent), "f")
    elif not register:
        raise LocalError("edit.wish", "Say what the meter showed.")
    return {"since": at, "until": at, "register": register}


def _instant(text: str) -> int:
    for form in ("%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"):
        try:
            found = datetime.strptime(text.strip(), form).replace(tzinfo=ZONE)
        except (ValueError, OverflowError):
            continue
        if 1971 <= found.year <= 2100:
            return int(found.timestamp()) * 1000
    raise LocalError("edit.time", "A time is missing, or is not written as 2026-11-21 14:30.")


def _typed(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, ZONE).strftime("%Y-%m-%dT%H:%M")


def _seen(fields: Mapping[str, str]) -> bytes:
    try:
        return bytes.fromhex(fields.get("seen", ""))
    except ValueError:
        return b""


def _shown(
    visit: Visit,
    page: OperatorDayPage,
    form: Form,
    looked: EditLooked | None = None,
    error: MetersealError | None = None,
) -> Response[bytes]:
    bars = days.drawn(
        page.readings, page.exponent, page.since, page.until, looked.readings if looked is not None else ()
    )
    values = {"page": page, "form": form, "looked": looked, "bars": bars, "problem": problem_of(visit, error)}
    return visit.page("edit.html", _status(error), **values)


# --- what waits, and what was done -----------------------------------------------------------------------


@get("/fleet/edits")
async def edits(request: Web, before: FromQuery[int] = 0) -> Response[bytes]:
    """What waits for officers, and all edits, newest first."""
    visit = Visit(request)
    await visit.signed_in("operator")
    page = await visit.ask(OperatorEdits(visit.session, _number(before)), OperatorEditsPage)
    part = request.headers.get("hx-request") == "true"
    return visit.page("part_edits.html" if part else "edits.html", page=page, rows=page.edits)


@get("/fleet/edits/{number:int}")
async def edit_view(request: Web, number: FromPath[int]) -> Response[bytes]:
    """One edit: why, what it changes, who lets it be, and what can be done with it."""
    visit = Visit(request)
    await visit.signed_in("operator")
    return await _viewed(visit, number)


@get("/fleet/edits/{number:int}/request")
async def edit_file(request: Web, number: FromPath[int]) -> Response[bytes]:
    """What two officers sign, as a file."""
    visit = Visit(request)
    await visit.signed_in("operator")
    found = await visit.ask(OperatorEditFile(visit.session, _number(number)), EditFile)
    response = visit.packed(found.content, "application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="edit-{number}.request"'
    return response


@post("/fleet/edits/{number:int}/agree", status_code=200)
async def agree(request: Web, number: FromPath[int]) -> Response[bytes] | Redirect:
    """Hand in what two officers signed."""
    visit = Visit(request)
    await visit.posted()
    await visit.signed_in("operator")
    sent = (await request.form()).get("file")
    content = await sent.read(LONGEST) if isinstance(sent, UploadFile) else b""
    return await _done(visit, number, OperatorAgree(visit.session, _number(number), content))


@post("/fleet/edits/{number:int}/decline", status_code=200)
async def decline(request: Web, number: FromPath[int]) -> Response[bytes] | Redirect:
    """Decline an edit that waits, or give an own one up."""
    visit = Visit(request)
    await visit.posted()
    await visit.signed_in("operator")
    return await _done(visit, number, OperatorDecline(visit.session, _number(number)))


@post("/fleet/edits/{number:int}/undo", status_code=200)
async def undo(request: Web, number: FromPath[int]) -> Response[bytes] | Redirect:
    """Show what taking an edit back would do, or take it back as it was shown."""
    visit = Visit(request)
    fields = await visit.posted()
    await visit.signed_in("operator")
    reason = fields.get("reason", "")[:500]
    ask = OperatorUndoLook(visit.session, _number(number))
    refused: MetersealError | None = None
    looked: EditLooked | None = None
    try:
        if fields.get("action") == "save":
            question = OperatorUndo(session=visit.session, number=number, reason=reason, seen=_seen(fields))
            try:
                kept = await visit.ask(question, EditView)
                return visit.go(f"/fleet/edits/{kept.edit.number}")
            except MetersealError as error:
                if error.code not in (OVERTAKEN, "edit.reason"):
                    raise
                refused = error
        looked = await visit.ask(ask, EditLooked)
    except MetersealError as error:
        if not error.code.startswith(SHOWN_FOR):
            raise
        refused = error
    return await _viewed(visit, number, looked, reason, refused)


async def _done(visit: Visit, number: int, question: Struct) -> Response[bytes] | Redirect:
    try:
        await visit.ask(question, EditView)
    except MetersealError as error:
        if not error.code.startswith(SHOWN_FOR):
            raise
        return await _viewed(visit, number, refused=error)
    return visit.go(f"/fleet/edits/{number}")


async def _viewed(
    visit: Visit,
    number: int,
    looked: EditLooked | None = None,
    reason: str = "",
    refused: MetersealError | None = None,
) -> Response[bytes]:
    view = await visit.ask(OperatorEditView(visit.session, _number(number)), EditView)
    return visit.page(
        "edit_view.html",
        _status(refused),
        view=view,
        looked=looked,
        reason=reason,
        problem=problem_of(visit, refused),
    )


class Problem(Struct, frozen=True):
    """A refusal in the visitor's language, and the station's own English sentence where that says more."""

    sentence: str
    exact: str


def problem_of(visit: Visit, error: MetersealError | None) -> Problem | None:
    if error is None:
        return None
    said = visit.sentence(error.code, error.message)
    english = visit.language.tag == "en"
    return (
        Problem(error.message, "")
        if english
        else Problem(said, error.message if said != error.message else "")
    )


def _status(error: MetersealError | None) -> int:
    if error is None:
        return 200
    return (
        409
        if error.code == OVERTAKEN
        else 403
        if isinstance(error, TrustError) or error.code == "edit.own"
        else 400
    )


def _number(number: int) -> int:
    if not 0 <= number < 1 << 31:
        raise LocalError("portal.request", "The address is not one this portal knows. Go back and try again.")
    return number


HANDLERS = [edit_page, edit, edits, edit_view, edit_file, agree, decline, undo]
