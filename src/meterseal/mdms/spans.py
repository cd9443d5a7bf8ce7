"""Station MDMS, spans: what holds from when to when, one laid over another.

Pure. It does not know what the values mean, but for main meters and agreements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from meterseal.mdms.store.rows import EVER


class Span(Struct, frozen=True):
    """A value that holds in since <= t < until."""

    since: int
    until: int
    value: str


Told = Mapping[str, Mapping[str, Sequence[Span]]]
"""By kind and usage point the spans that hold, rising and apart."""


def laid(spans: Sequence[Span], new: Span) -> list[Span]:
    """The spans with a new one laid over them; an empty value only takes away."""
    kept: list[Span] = []
    for span in spans:
        if span.since < new.since:
            kept.append(Span(span.since, min(span.until, new.since), span.value))
        if span.until > new.until:
            kept.append(Span(max(span.since, new.until), span.until, span.value))
    return joined(sorted([*kept, *([new] if new.value else [])], key=lambda span: span.since))


def joined(spans: Sequence[Span]) -> list[Span]:
    """Rising spans, those of one value that meet made one."""
    found: list[Span] = []
    for span in spans:
        if found and found[-1].until == span.since and found[-1].value == span.value:
            found[-1] = Span(found[-1].since, span.until, span.value)
        else:
            found.append(span)
    return found


def at(spans: Sequence[Span], instant: int) -> str:
    """The value that holds at an instant, empty where none does."""
    return next((span.value for span in spans if span.since <= instant < span.until), "")


def unagreed(periods: Sequence[tuple[int, int | None]]) -> list[Span]:
    """When nobody had an agreement, after the first one began: what was before it, the system before this one knows."""
    found = []
    covered: int | None = None
    for since, until in sorted(periods, key=lambda period: period[0]):
        if covered is not None and since > covered:
            found.append(Span(covered, since, "vacant"))
        end = EVER if until is None else until
        covered = end if covered is None else max(covered, end)
    if covered is not None and covered < EVER:
        found.append(Span(covered, EVER, "vacant"))
    return found


def subs_of(told: Told) -> list[tuple[str, tuple[str, ...], int, int]]:
    """(main, its sub-meters, since, until) for every period in which a main meter has the same ones."""
    behind: dict[str, list[tuple[Span, str]]] = {}
    for sub, spans in told.get("main", {}).items():
        for span in spans:
            behind.setdefault(span.value, []).append((span, sub))
    found = []
    for main, of in sorted(behind.items()):
        edges = sorted({edge for span, _ in of for edge in (span.since, span.until)})
        for since, until in pairwise(edges):
            subs = tuple(sorted(sub for span, sub in of if span.since <= since < span.until))
            if subs:
                found.append((main, subs, since, until))
    return found
