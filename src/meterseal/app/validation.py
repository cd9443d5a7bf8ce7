"""What an operator may ask about validation over the Unix socket: the requests, no behaviour (`app.judging` answers).

Commands import it, so it loads neither the rules nor the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec import Struct

from meterseal.mdms.fact import Fact
from meterseal.model import Medium

if TYPE_CHECKING:
    from meterseal.mdms.vee.settings import RuleChange


class FindingsQuery(Struct, frozen=True, kw_only=True):
    """Newest findings, of one usage point, of that at which a meter counts or counted last, or of all; with `as_of` (Unix
    ms) as they were then, with `since` and `until` those of that time.
    """

    usage_point: str = ""
    device_id: bytes = b""
    limit: int = 50
    as_of: int | None = None
    since: int = 0
    until: int = 0


class PastQuery(Struct, frozen=True, kw_only=True):
    """The readings of since <= t <= until of a usage point's main channel as they were visible at `as_of`, beside now."""

    usage_point: str = ""
    device_id: bytes = b""
    since: int
    until: int
    as_of: int


class RuleOrder(Struct, frozen=True, kw_only=True):
    """A rule with other values of its parameters, or switched off, for a class and medium (empty: every one)."""

    rule: str
    change: dict[str, str]
    on: bool = True
    medium: str = ""
    customer: str = ""

    @property
    def asked(self) -> RuleChange:
        """The same as rules are told it."""
        from meterseal.mdms.vee.settings import RuleChange  # brings every rule, and who only asks needs none

        return RuleChange(
            rule=self.rule,
            medium=cast(Medium, self.medium) if self.medium else None,
            customer=self.customer or None,
            on=self.on,
            values=self.change,
        )


class TrialOrder(RuleOrder, frozen=True, kw_only=True):
    """Try it on so many days."""

    days: int = 90


class ChangeOrder(RuleOrder, frozen=True, kw_only=True):
    """Judge by it from now on, and why."""

    reason: str


class MethodsOrder(Struct, frozen=True, kw_only=True):
    """Ask methods in this order (none: in that of the table) for gaps that begin in since <= t < until, and why; for a
    medium and a zone (empty: all).
    """

    order: tuple[str, ...]
    since: int
    until: int
    reason: str
    medium: str = ""
    zone: str = ""


class FactsOrder(Struct, frozen=True, kw_only=True):
    """What an operator states of usage points."""

    facts: tuple[Fact, ...]


class FactsQuery(Struct, frozen=True, kw_only=True):
    """What is known of one usage point, or of all."""

    usage_point: str = ""


class RunQuery(Struct, frozen=True, kw_only=True):
    """One run of the rules, by its number."""

    number: int
