"""What operators ask and are answered about edits of readings through the web process: a struct each.

No behaviour. No name and no address is in any of them; who did something is an account or an officer. Sessions, times and
periods are as in `messages`.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from meterseal.model import Medium, Quality
from meterseal.people.fleet_messages import EditRow, Finding, ReadingRow
from meterseal.utility.views import EditEffect


class OperatorDay(Struct, frozen=True):
    """Ask for what is known of a local day of a usage point, to edit it; `since` is its midnight, 0 the newest."""

    session: str
    usage_point: str
    since: int = 0


class OperatorDayPage(Struct, frozen=True, kw_only=True):
    """Readings with since <= end_at <= until of the main channel, what rules found there, and the methods there are."""

    now: int
    usage_point: str
    medium: Medium
    unit: str
    exponent: int
    since: int
    until: int
    latest_at: int | None
    readings: tuple[ReadingRow, ...]
    findings: tuple[Finding, ...]
    methods: tuple[str, ...]


class OperatorEditLook(Struct, frozen=True, kw_only=True):
    """Ask what an edit would do; the fields are those of `mdms.editing.Wish`."""

    session: str
    usage_point: str
    since: int
    until: int
    register: str = ""
    method: str = ""
    total: str = ""


class OperatorEdit(OperatorEditLook, frozen=True, kw_only=True):
    """Edit, as it was looked at (`seen`), and why. Answered with EditView."""

    reason: str = ""
    seen: bytes = b""


class OperatorUndoLook(Struct, frozen=True):
    """Ask what taking an edit back would do."""

    session: str
    number: int = 0


class OperatorUndo(Struct, frozen=True, kw_only=True):
    """Take an edit back, as it was looked at. Answered with EditView."""

    session: str
    number: int = 0
    reason: str = ""
    seen: bytes = b""


class Replaced(Struct, frozen=True):
    """A reading before an edit and with it; None where none stood."""

    end_at: int
    before: Decimal | None
    quality: Quality | None
    after: Decimal


class EditLooked(Struct, frozen=True, kw_only=True):
    """What an edit would do: its readings, the most that a register moves, the bills, how many officers must sign; `seen`
    goes back with the edit.
    """

    medium: Medium
    unit: str
    moved: Decimal
    readings: tuple[Replaced, ...]
    effect: EditEffect
    people: int
    seen: bytes


class OperatorEdits(Struct, frozen=True):
    """Ask for edits, newest first, with numbers below `before` (0: the newest)."""

    session: str
    before: int = 0
    limit: int = 50


class OperatorEditsPage(Struct, frozen=True):
    """What waits, newest first, at most 100 of them; and a page of all edits, `next` the cursor of older ones; `damaged`
    are the numbers among both of those that are not what was written."""

    now: int
    waiting: tuple[EditRow, ...]
    waiting_total: int
    edits: tuple[EditRow, ...]
    next: int
    damaged: tuple[int, ...] = ()


class OperatorEditView(Struct, frozen=True):
    """Ask for one edit."""

    session: str
    number: int = 0


class EditView(Struct, frozen=True, kw_only=True):
    """One edit with its readings, and what it does to bills now (`effect`, None unless it waits). `own`: whoever asks
    proposed it.
    """

    edit: EditRow
    unit: str
    moved: Decimal
    readings: tuple[Replaced, ...]
    effect: EditEffect | None
    own: bool


class OperatorEditFile(Struct, frozen=True):
    """Ask for what two officers sign of an edit that waits, as a file."""

    session: str
    number: int = 0


class EditFile(Struct, frozen=True):
    """A request file (`security.officerfile.RequestFile`), JSON."""

    content: bytes


class OperatorAgree(Struct, frozen=True):
    """Agree to an edit that waits: `file` is its request with the signatures of two officers. Answered with EditView."""

    session: str
    number: int = 0
    file: bytes = b""


class OperatorDecline(Struct, frozen=True):
    """Decline an edit that waits, or give an own one up. Answered with EditView."""

    session: str
    number: int = 0
