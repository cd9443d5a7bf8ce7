"""Station edge, what meters on CJ/T 188 share: what each identifier reads, what each write means, and the day's report.

It knows no medium (`water`, `gas` and `heat` give the quantities) and no bytes (`wire` builds them, the model's way).
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

from meterseal.edge.meter import HOUR, Meter
from meterseal.edge.metering.inputs import (
    AlarmsSet,
    ClockSet,
    DaysSet,
    Input,
    ParametersSet,
    Priced,
    Purchased,
    RegisterSet,
)
from meterseal.edge.metering.state import Freeze
from meterseal.edge.scales import meant, shown
from meterseal.model import MAIN
from meterseal.wire import identifiers as ids
from meterseal.wire import roles
from meterseal.wire.asked import Ask, Reason
from meterseal.wire.catalogue import FIELDS
from meterseal.wire.cjt188.answering import fields_of, report
from meterseal.wire.cjt188.habits import Habits
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.sheet import Value
from meterseal.wire.values import Stated, Values

MONTHS, DAYS, HOURS, INSTANTS = 0xD1, 0xD2, 0xD3, 0xD4
"""Groups of stored readings; what is in the last three is one source's, which entry is how old is ours."""
AS_PRINTED = Habits()
FIRST_MONTH, LAST_MONTH = 0xD120, 0xD12B


class GatheredMeter(Meter):
    """A meter on CJ/T 188."""

    main: str = "volume"
    """What the main register counts: `volume` or `energy`."""

    @abstractmethod
    def quantities(self, at: int) -> dict[str, int]:
        """What is measured, at an instant, by the names of fields and in their units."""

    def reports(self, at: int) -> list[Frame]:
        """901F as the editions print it, whatever the model does: what is sealed stands in one unit with the profile."""
        values: dict[str, Stated] = {**self.quantities(at), "clock": at, "status": self.status_word(at)}
        return [
            report(
                self.device_id,
                ids.METERING,
                values,
                AS_PRINTED,
                high_first=True,
                utc_offset_minutes=self.utc_offset,
            )
        ]

    # --- read -------------------------------------------------------------------------------------------

    def stated(self, ask: Ask, now: int) -> Values | None:
        if ask.di is None or (ask.opaque and self.profile.cjt188.payload_of(ask.di) is None):
            return None
        found = self._found(ask.di, now)
        if found is None:
            return None
        unknown = self._captured.get(ask.di, {})
        layout = fields_of(ask.di, self.profile.cjt188, meter_type=self.device_id[0])
        if "payload" in layout and "payload" not in unknown:
            return None
        return unknown | {name: self._scaled(name, value) for name, value in found.items()}

    def _scaled(self, name: str, value: Stated) -> Stated:
        """Digits as the model shows them."""
        counts = name in FIELDS and FIELDS[name].kind in ("quantity", "number")
        return shown(name, value, self.profile.cjt188) if counts and isinstance(value, int) else value

    @cached_property
    def _captured(self) -> dict[int, dict[str, Stated]]:
        """Bytes without a public layout, from the frames that were captured of this model, by identifier."""
        found: dict[int, dict[str, Stated]] = {}
        for vector in self.profile.vectors:
            raw = bytes.fromhex(vector.hex).lstrip(b"\xfe")
            frame, _ = parse_frame(raw, 0, self.profile.protocol)
            if frame.control & 0x80 and len(frame.data) > 2:
                values = roles.stated(frame, self.profile)
                unknown = {name: value for name, value in values.items() if name in ("payload", "tail")}
                found.setdefault(ids.read_di(frame.data)[0], {}).update(unknown)
        return found

    def _found(self, di: int, now: int) -> dict[str, Stated] | None:
        account, kept = self.state.account, self.state.parameters
        clock: dict[str, Stated] = {"clock": self.clock(now), "status": self.status_word()}
        match di:
            case ids.METERING | ids.METERING_2:
                return {**dict.fromkeys(_UNMEASURED), **self.quantities(now), **clock}
            case 0x907F:
                return clock
            case ids.PRICE_TABLE:
                first, second, third = account.prices
                steps = {"volume_1": account.steps[0], "volume_2": account.steps[1]}
                return {"price_1": first, "price_2": second, "price_3": third, **steps}
            case ids.SETTLEMENT_DAY:
                return {"settlement_day": kept.settlement_day}
            case ids.READING_DAY:
                return {"reading_day": kept.reading_day}
            case ids.KEY_VERSION:
                return {"key_version": kept.key_version}
            case ids.PURCHASE:
                return {
                    "purchase_serial": account.serial,
                    "purchase_amount": account.amount,
                    "total_purchase_amount": account.bought,
                    "remaining_amount": max(0, account.balance) // 100,
                    **clock,
                }
        return self._stored(di, now)

    def _stored(self, di: int, now: int) -> dict[str, Stated] | None:
        """History: months by settlement day, days, hours and instants, the newest first."""
        group, entry = di >> 8, di & 0xFF
        if FIRST_MONTH <= di <= LAST_MONTH:
            value = self.settled(self.clock(now), di - FIRST_MONTH)
            return None if value is None else {f"settlement_{self.main}": value}
        book = self.state.book
        if group == DAYS:
            days = [day.closed for day in reversed(book.days) if day.closed]
            if entry >= len(days):
                return None
            values = dict(zip((self.main, "volume"), days[entry], strict=False))
            settled = {f"settlement_{name}": value for name, value in values.items()}
            return {"settlement_cooling_energy": None, **settled}
        if group == HOURS:
            at = book.through - entry * HOUR
            if not book.days or at <= book.days[0].start_at:
                return None
            return self._frozen(at, self.readings.stored(MAIN, at))
        if group == INSTANTS:
            instants: list[Freeze] = list(reversed(book.instants))
            if entry >= len(instants):
                return None
            return self._frozen(instants[entry].at, instants[entry].registers[0])
        return None

    def _frozen(self, at: int, register: int | None) -> dict[str, Stated]:
        return {"freeze_time": at, f"cumulative_{self.main}": register, **dict.fromkeys(_UNMEASURED)}

    # --- write ------------------------------------------------------------------------------------------

    def wanted(self, ask: Ask, now: int) -> Input | Reason:
        values = ask.values
        match ask.kind:
            case "time" if ask.at is not None:
                return ClockSet(ask.at)
            case "price":
                first, second, third = (_digits(values, f"price_{n}") for n in (1, 2, 3))
                steps = _digits(values, "volume_1"), _digits(values, "volume_2")
                return Priced((first, second, third), steps, _digits(values, "start_day"))
            case "purchase":
                return Purchased(_digits(values, "purchase_serial"), _digits(values, "purchase_amount"))
            case "settlement-day":
                return DaysSet(settlement=_digits(values, "settlement_day") or 99)
            case "reading-day":
                return DaysSet(reading=_digits(values, "reading_day") or 99)
            case "alarm-amount":
                return AlarmsSet(amount=_digits(values, "alarm_amount"))
            case "alarm-volume":
                volume = self._meant(values, "alarm_volume")
                return "bad-value" if volume is None else AlarmsSet(volume=volume)
            case "sync" if not ask.opaque:
                name = f"cumulative_{self.main}"
                register = self._meant(values, name if name in values else "cumulative_volume")
                return "bad-value" if register is None else RegisterSet(register)
            case "verification":
                return ParametersSet(verifying=ask.action == "enter")
            case "factory-enable":
                return ParametersSet(enabled=True)
            case "communication":
                return ParametersSet(communication=ask.payload[0])
            case "freeze-parameters":
                return ParametersSet(freezing=ask.payload)
            case "write-address":
                # A module is bound to the address (LINK section 1): only a meter without one is given another.
                address = values.get("new_address")
                if not self.clear_writes or not isinstance(address, str):
                    return "not-authorised"
                return ParametersSet(address=bytes.fromhex(address))
            case "key":  # keys reach the module by control KEY alone (LINK section 4)
                return "not-authorised"
            case _:
                return "no-such-data" if ask.di is not None and ask.kind != "valve" else "other"

    def _meant(self, values: Values, name: str) -> int | None:
        value = values.get(name)
        return meant(name, value, self.profile.cjt188) if isinstance(value, Value) else None


_UNMEASURED = (
    "cumulative_cooling_energy",
    "settlement_cooling_energy",
    "supply_pressure",
    "return_pressure",
    "flow_rate",
    "temperature",
    "pressure",
)
"""What some layouts have and not every meter measures: sent blank."""


def _digits(values: Values, name: str) -> int:
    """The digits of a value as sent; -1 where there are none, which no rule takes."""
    value = values.get(name)
    register = value.register if isinstance(value, Value) else value
    return register if isinstance(register, int) else -1
