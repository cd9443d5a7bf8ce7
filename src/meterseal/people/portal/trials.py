"""The page of rules: what their parameters are, what a changed one would flag on the last 90 days, and what was changed.

It judges nothing; a trial runs on the platform while the page asks how far it is.
"""

from __future__ import annotations

from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect

from meterseal.errors import MetersealError
from meterseal.people.portal.context import Visit, Web
from meterseal.people.portal.editor import problem_of
from meterseal.people.rule_messages import OperatorRules, OperatorRulesPage, OperatorTry

VALUE = "value-"
"""Before the name of a parameter, in the name of its field."""
SHOWN_FOR = ("use.", "rules.")
LONGEST = 64


@get("/fleet/rules")
async def rules(
    request: Web,
    rule: FromQuery[str] = "",
    medium: FromQuery[str] = "",
    customer: FromQuery[str] = "",
) -> Response[bytes]:
    """All rules and trials; of a chosen one what can be tried."""
    visit = Visit(request)
    await visit.signed_in("operator")
    question = OperatorRules(visit.session, rule[:LONGEST], medium[:LONGEST], customer[:LONGEST])
    if request.headers.get("hx-request") == "true":
        page = await visit.ask(OperatorRules(visit.session), OperatorRulesPage)
        return visit.page("part_trials.html", page=page)
    try:
        page = await visit.ask(question, OperatorRulesPage)
    except MetersealError as error:
        if not error.code.startswith(SHOWN_FOR):
            raise
        return await _refused(visit, error, {})
    return visit.page("rules.html", page=page, typed={}, off=False, problem=None)


@post("/fleet/rules", status_code=200)
async def attempt(request: Web) -> Response[bytes] | Redirect:
    """Begin a trial."""
    visit = Visit(request)
    fields = await visit.posted()
    await visit.signed_in("operator")
    typed = {
        name.removeprefix(VALUE)[:LONGEST]: value.strip()[: LONGEST + 1]
        for name, value in fields.items()
        if name.startswith(VALUE)
    }
    off = fields.get("off") == "1"
    rule, medium, customer = (fields.get(name, "")[:LONGEST] for name in ("rule", "medium", "customer"))
    question = OperatorTry(
        session=visit.session,
        rule=rule,
        medium=medium,
        customer=customer,
        on=not off,
        values={} if off else {name: value for name, value in typed.items() if value},
    )
    try:
        await visit.ask(question, OperatorRulesPage)
    except MetersealError as error:
        if not error.code.startswith(SHOWN_FOR):
            raise
        return await _refused(visit, error, typed, rule, medium, customer, off=off)
    asked = urlencode({"rule": rule, "medium": medium, "customer": customer})
    return visit.go(f"/fleet/rules?{asked}#trials")


async def _refused(
    visit: Visit,
    error: MetersealError,
    typed: dict[str, str],
    rule: str = "",
    medium: str = "",
    customer: str = "",
    *,
    off: bool = False,
) -> Response[bytes]:
    try:
        page = await visit.ask(OperatorRules(visit.session, rule, medium, customer), OperatorRulesPage)
    except MetersealError as again:
        if not again.code.startswith(SHOWN_FOR):
            raise
        page = await visit.ask(OperatorRules(visit.session), OperatorRulesPage)
    values = {"page": page, "typed": typed, "off": off, "problem": problem_of(visit, error)}
    return visit.page("rules.html", 400, **values)


HANDLERS = [rules, attempt]
