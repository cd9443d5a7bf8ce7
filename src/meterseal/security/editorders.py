"""What officers sign about readings: one edit by people, as it was proposed to the store of measurements. No behaviour."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from meterseal.security.orders import Request

PURPOSE: Final = "edit-readings"


class EditOrder(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `edit-readings`: let this edit be saved. `effect` says what it changes and what that does to bills;
    `digest` (32 bytes, keyed by the store) is over every register of it.
    """

    edit: int
    usage_point: str
    since: int
    until: int
    reason: str
    effect: str
    digest: bytes


class EditSigned(Struct, frozen=True, kw_only=True):
    """The officers who let an edit be saved."""

    officers: tuple[str, ...]
