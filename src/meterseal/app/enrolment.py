"""What can be known to be wrong with an enrolment before anything of it is done: ids, tariffs, billing days.

Pure; whether a device is enrolled already is the fleet's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meterseal.app.operator import Supply
from meterseal.errors import LocalError
from meterseal.model import Medium, medium_of
from meterseal.utility.tariff import AnyTariff

POINT = 65
"""Bytes of an SM2 public point, uncompressed."""
LAST_BILLING_DAY = 31
"""In a shorter month its last day (`utility.calendar`)."""


def check(supply: Supply, tariffs: Mapping[str, AnyTariff]) -> None:
    """LocalError `use.device`, `use.concentrator`, `use.module`, `use.billing-day`, `use.tariff`: nothing
    was changed.
    """
    shown = supply.device_id.hex() or "(none)"
    if len(supply.device_id) != 8:
        raise LocalError(
            "use.device", f"{shown} is no device id: it has 8 bytes. Correct it; nothing was changed."
        )
    own = medium_of(supply.device_id)
    if own is not None and own != supply.medium:
        raise LocalError(
            "use.device",
            f"{shown} is the id of a meter for {own} (LINK section 1), not for {supply.medium}. Correct one of them; "
            "nothing was changed.",
        )
    if supply.suite is None and not supply.concentrator_id:
        raise LocalError(
            "use.concentrator",
            f"{shown} has no module, so a concentrator must vouch for it: name one. Nothing was changed.",
        )
    if supply.suite is not None:
        _check_module_id(supply.device_id, supply.module_id)
    if not 1 <= supply.billing_day <= LAST_BILLING_DAY:
        raise LocalError(
            "use.billing-day",
            f"{supply.billing_day} is no day of a month: give 1 to {LAST_BILLING_DAY}. Nothing was changed.",
        )
    tariff = tariffs.get(supply.tariff)
    if supply.tariff and (tariff is None or tariff.medium != supply.medium):
        raise LocalError(
            "use.tariff",
            f"`{supply.tariff}` is no tariff for {supply.medium}. There are: {_codes(supply.medium, tariffs.values())}. "
            "Nothing was changed.",
        )


def check_module(device_id: bytes, module_id: bytes, point: bytes) -> None:
    """LocalError `use.module` unless this can be the module that a meter in place is given."""
    _check_module_id(device_id, module_id)
    if len(point) != POINT:
        raise LocalError(
            "use.module",
            f"The module of {device_id.hex()} shows its public point: {POINT} bytes. Correct it; nothing was changed.",
        )


def _check_module_id(device_id: bytes, module_id: bytes) -> None:
    if len(module_id) != 8:
        raise LocalError(
            "use.module",
            f"The module of {device_id.hex()} needs an id of 8 bytes. Correct it; nothing was changed.",
        )


def _codes(medium: Medium, tariffs: Iterable[AnyTariff]) -> str:
    return ", ".join(sorted({tariff.code for tariff in tariffs if tariff.medium == medium})) or "none"
