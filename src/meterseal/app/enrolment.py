"""What can be known to be wrong with an enrolment before anything of it is done: ids, tariffs, billing days.

Pure; whether a device is enrolled already is the fleet's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meterseal.app.operator import Supply
from meterseal.errors import LocalError
from meterseal.model import Medium
from meterseal.utility.tariff import AnyTariff

ELECTRICITY = 0xD7
_MEDIA: dict[int, Medium] = {0x1: "water", 0x2: "heat", 0x3: "gas"}
"""What a CJ/T 188 meter measures, by the high nibble of its type T; others say nothing about it."""
LAST_BILLING_DAY = 31
"""In a shorter month its last day (`utility.calendar`)."""


def check(supply: Supply, tariffs: Mapping[str, AnyTariff]) -> None:
    """LocalError `use.device`, `use.module`, `use.billing-day` or `use.tariff`, each saying that nothing was changed."""
    shown = supply.device_id.hex() or "(none)"
    if len(supply.device_id) != 8:
        raise LocalError(
            "use.device", f"{shown} is no device id: it has 8 bytes. Correct it; nothing was changed."
        )
    own = "electricity" if supply.device_id[0] == ELECTRICITY else _MEDIA.get(supply.device_id[0] >> 4)
    if own is not None and own != supply.medium:
        raise LocalError(
            "use.device",
            f"{shown} is the id of a meter for {own} (LINK section 1), not for {supply.medium}. Correct one of them; "
            "nothing was changed.",
        )
    if supply.suite is not None and len(supply.module_id) != 8:
        raise LocalError(
            "use.module", f"The module of {shown} needs an id of 8 bytes. Correct it; nothing was changed."
        )
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


def _codes(medium: Medium, tariffs: Iterable[AnyTariff]) -> str:
    return ", ".join(sorted({tariff.code for tariff in tariffs if tariff.medium == medium})) or "none"
