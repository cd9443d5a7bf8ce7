"""What is said about enrolment after a restore: who was enrolled before, whom two officers let in. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.orders import Request


class Pair(Struct, frozen=True, array_like=True):
    """A device and the module that somebody knows it had, empty where only the device is known."""

    device_id: bytes
    module_id: bytes


class Reserve(Struct, frozen=True, kw_only=True):
    """Modules that were enrolled as far as the platform knows, at most a thousand."""

    pairs: tuple[Pair, ...]


class EndModules(Struct, frozen=True, kw_only=True):
    """Modules that the service withdrew as far as the platform knows, at most a thousand."""

    pairs: tuple[Pair, ...]


class Ended(Struct, frozen=True, kw_only=True):
    """How many of them were in service and are withdrawn again."""

    again: int


class Reservations(Struct, frozen=True, kw_only=True):
    """Whether enrolment is held, since when (Unix ms) and why, and how many pairs are reserved."""

    held: bool
    since: int = 0
    reason: str = ""
    reserved: int = 0


class Hold(Struct, frozen=True, kw_only=True):
    """Hold enrolment until the head is accepted, and say why."""

    reason: str


class ReleaseModule(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `release-module`: this module with this very public point may be enrolled for this device, though one of
    them was enrolled before a restore and is not known any more.
    """

    device_id: bytes
    module_id: bytes
    point: bytes
    reason: str
