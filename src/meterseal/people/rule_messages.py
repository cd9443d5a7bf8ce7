"""What operators ask and are answered about rules and trials of them through the web process: a struct each.

No behaviour, no name and no address; usage points are pseudonyms.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.model import Medium
from meterseal.people.fleet_messages import Finding


class OperatorRules(Struct, frozen=True):
    """Ask for the rules, the trials and the changes; of one rule also its parameters, of a medium and class ("": all)."""

    session: str
    rule: str = ""
    medium: str = ""
    customer: str = ""


class OperatorTry(Struct, frozen=True, kw_only=True):
    """Try a rule with other values, or without it, on what is stored of the last 90 days; it goes on in the background.

    Answered with OperatorRulesPage.
    """

    session: str
    rule: str = ""
    medium: str = ""
    customer: str = ""
    on: bool = True
    values: dict[str, str] = {}


class RuleRow(Struct, frozen=True):
    """One rule with the media that it has a meaning for."""

    name: str
    severity: str
    media: tuple[Medium, ...]


class Parameter(Struct, frozen=True):
    """One parameter of a rule and its default, as it is written."""

    name: str
    default: str


class Asked(Struct, frozen=True, kw_only=True):
    """A rule as somebody tries or changed it: with `values` over its defaults, or off; by whom and when."""

    rule: str
    medium: str
    customer: str
    on: bool
    values: tuple[tuple[str, str], ...]
    author: str
    at: int


class Tried(Struct, frozen=True, kw_only=True):
    """A trial that came to its end: what the rule flags now and would flag, and what would be new or gone, each at most 50
    of `new_count` and `gone_count`. `code` and `failed` say why it came to none, both empty where it did.
    """

    asked: Asked
    ended_at: int
    days: int
    readings: int
    channels: int
    flags_now: int
    would_flag: int
    new_count: int
    gone_count: int
    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    code: str = ""
    failed: str = ""


class Changed(Struct, frozen=True, kw_only=True):
    """A change of a rule that was made, with why and what its trial counted (None: not known)."""

    number: int
    asked: Asked
    reason: str
    flags_now: int | None
    would_flag: int | None


class OperatorRulesPage(Struct, frozen=True, kw_only=True):
    """All rules; the chosen one with its parameters; the trial that runs, those that ended since the start (newest first,
    at most 20), and the newest changes.
    """

    now: int
    rules: tuple[RuleRow, ...]
    customers: tuple[str, ...]
    rule: str
    medium: str
    customer: str
    parameters: tuple[Parameter, ...]
    running: Asked | None
    tried: tuple[Tried, ...]
    changed: tuple[Changed, ...]
