"""What the web process asks the platform and what it is answered: one struct a question, one an answer.

No wording and no rules here; `queries` answers and enforces, the portal asks and shows. These are for everybody who signs
in and for residents; what operators ask of the fleet is `fleet_messages`.

Every question but the sign-in ones carries the session token; whose data an answer holds follows from it
alone, never from anything else in the question. Times are Unix milliseconds UTC, periods half-open.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from meterseal.utility.views import BillSummary, Resolution, RowResolution, UsagePointCard

Role = Literal["resident", "operator"]

# --- sign-in ---------------------------------------------------------------------------------------------


class SignedIn(Struct, frozen=True):
    """A fresh session: the token goes to the browser and is not kept."""

    session: str
    role: Role
    locale: str
    expires_at: int


class RedeemLink(Struct, frozen=True):
    """Spend a one-time link; answered with SignedIn."""

    token: str


class SignInFacts(Struct, frozen=True):
    """Ask how to compute the verifier of a sign-in name; answered with password.Stretch, known name or
    not.
    """

    name: str


class SignIn(Struct, frozen=True):
    """Sign in by verifier (argon2id of the password); answered with SignedIn."""

    name: str
    verifier: bytes


class SignOut(Struct, frozen=True):
    """End a session."""

    session: str


class SetPassword(Struct, frozen=True):
    """Set the password of the session's account by its verifier under a salt the web process drew."""

    session: str
    salt: bytes
    passes: int
    memory_kib: int
    lanes: int
    verifier: bytes


class SetLocale(Struct, frozen=True):
    """Remember the language of the session's account."""

    session: str
    locale: str


class Me(Struct, frozen=True):
    """Ask who the session speaks for."""

    session: str


class MeFacts(Struct, frozen=True):
    """Who the session speaks for."""

    account_id: str
    role: Role
    locale: str
    has_password: bool
    expires_at: int


# --- residents -------------------------------------------------------------------------------------------


class ResidentHome(Struct, frozen=True):
    """Ask for the first page of a resident."""

    session: str


class ResidentHomePage(Struct, frozen=True):
    """One card per running agreement, in the order water, gas, heat, electricity.

    `name` and `address` are empty once the person is erased, and while the key service is away. `began` says
    when the agreement of each card's usage point began: nothing earlier can be asked for.
    """

    now: int
    name: str
    address: str
    cards: tuple[UsagePointCard, ...]
    began: dict[str, int]


class ResidentUsage(Struct, frozen=True):
    """Ask for a series of one own usage point, of use or of what was fed in; what lies outside the own agreement is cut
    off.
    """

    session: str
    usage_point: str
    resolution: Resolution
    since: int
    until: int
    fed_in: bool = False


class ResidentBills(Struct, frozen=True):
    """Ask for all own bills."""

    session: str


class ResidentBillsPage(Struct, frozen=True):
    """Own bills, newest period first."""

    bills: tuple[BillSummary, ...]


class ResidentBill(Struct, frozen=True):
    """Ask for one own bill, answered with views.Bill."""

    session: str
    bill_id: str


class ResidentBillReadings(Struct, frozen=True):
    """Ask for the readings behind a line of an own bill, answered with views.LineReadings.

    `line` or `determinant` by number (None: the other one is meant). Rows end in `since` < t <= `until` (0, 0: all),
    later than the cursor `after`.
    """

    session: str
    bill_id: str
    line: int | None = None
    determinant: int | None = None
    resolution: RowResolution = "day"
    since: int = 0
    until: int = 0
    after: int = 0
    limit: int = 100


def method_of(question: type[Struct]) -> str:
    """Name of the method that answers a question: ResidentHome -> people.resident_home."""
    return "people" + "".join(f"_{c.lower()}" if c.isupper() else c for c in question.__name__).replace(
        "_", ".", 1
    )
