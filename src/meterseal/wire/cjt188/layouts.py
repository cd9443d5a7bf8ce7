"""Station wire, CJ/T 188 payloads (数据域): which fields stand behind DI and SER of each identifier.

It reads with a Sheet and decides nothing about control codes or errors (interpret). The field lists of the
2018 edition rest on one source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meterseal.units import CONFIRMED, UNITS
from meterseal.wire import identifiers as ids
from meterseal.wire.catalogue import BYTES, FIELDS, Field, row_of
from meterseal.wire.fields import clock_at, is_bcd
from meterseal.wire.sheet import Sheet, printed

Layout = Callable[[Sheet, str], None]
"""Reads one payload; the second argument is the medium of T."""

ENERGY: Final = frozenset({"J", "Wh", "kWh", "MWh", "kJ", "MJ", "GJ"})
CUMULATIVE: Final = {
    "volume": ("cumulative_volume", "当前累积流量"),
    "energy": ("cumulative_energy", "当前热量"),
}
SETTLEMENT: Final = {
    "volume": ("settlement_volume", "结算日累积流量"),
    "energy": ("settlement_energy", "结算日热量"),
}
VOLUME_SIZE, HEAT_SIZE = 19, 43
"""Payload bytes of 901F: water and gas, heat."""
VALUE_AND_STATUS = 6
"""Payload bytes of the shortest 901F seen: a value and ST."""
USUAL_UNITS: Final = {False: (0x2C, 0x29), True: (0x05, 0x08, 0x0B, 0x0E, 0x11)}
"""Unit codes that the first value of a volume and of a heat meter has."""


def known(code: int | None) -> bool:
    """Whether a byte is a unit code that is sure enough to tell a layout by."""
    return code in CONFIRMED


def lettered(code: int | None) -> bool:
    """Whether a byte is a unit code and no BCD (2C, 0B, …): it cannot be a byte of a value."""
    return code is not None and known(code) and not is_bcd(bytes((code,)))


def units_first(sheet: Sheet) -> bool:
    """Whether units precede the values (section 6.3): bytes 0 and 5 are unit codes and byte 4 is not.

    A unit code that is no BCD decides at once, in a heat payload that of the volume. Where both forms fit,
    the standard one is meant.
    """
    first, behind = sheet.peek(0), sheet.peek(4)
    if lettered(behind) or not known(first):
        return False
    if sheet.left < 10:
        return lettered(first)
    if not known(sheet.peek(5)) or lettered(first):
        return lettered(first)
    if sheet.left >= HEAT_SIZE and lettered(sheet.peek(20)) is not lettered(sheet.peek(24)):
        return lettered(sheet.peek(20))
    return not known(behind)


def kind(sheet: Sheet, medium: str, *, first: bool = False) -> str:
    """`energy` or `volume`: what the next quantity counts, by its unit, else by the medium."""
    unit = UNITS.get(sheet.peek(0 if first else 4) or 0)
    if unit is not None:
        return "energy" if unit.symbol in ENERGY else "volume"
    return "energy" if medium == "heat" else "volume"


def is_heat(sheet: Sheet, medium: str) -> bool:
    """Whether a 901F payload has the heat layout: by medium, corrected by what its bytes show."""
    shift = 0 if units_first(sheet) else 4
    if sheet.left >= HEAT_SIZE and all(known(sheet.peek(5 * index + shift)) for index in range(5)):
        return True
    clock = sheet.body[sheet.at + 10 : sheet.at + 17]
    return medium == "heat" and not (
        sheet.left == VOLUME_SIZE and (clock == bytes(7) or clock_at(clock) is not None)
    )


def metering(sheet: Sheet, medium: str) -> None:
    """901F, current metering data (计量数据)."""
    heat = is_heat(sheet, medium)
    if sheet.left == VALUE_AND_STATUS and sheet.peek(4) not in USUAL_UNITS[heat]:
        name, chinese = SETTLEMENT["energy"] if heat else CUMULATIVE["volume"]
        sheet.number(name, chinese, 4, -2, None)
        sheet.read_status()
        sheet.odd("short", "a value and ST only, without unit")
        sheet.complete = False
    elif heat:
        heat_metering(sheet, medium)
    else:
        volume_metering(sheet, medium)


def volume_metering(sheet: Sheet, medium: str) -> None:
    """Water and gas: two volumes, clock, ST (19 bytes); a vendor's third quantity is met in real frames."""
    first = _order(sheet)
    for names in (CUMULATIVE, SETTLEMENT):
        if sheet.left == 2 and names is SETTLEMENT:
            break
        name, chinese = names[kind(sheet, medium, first=first)]
        sheet.quantity(name, chinese, unit_first=first)
    unit = UNITS.get(sheet.peek(0 if first else 4) or 0)
    if sheet.complete and sheet.left >= 14 and unit is not None and unit.rate:
        sheet.quantity("flow_rate", "流量", unit_first=first)
        sheet.odd("vendor-layout", "a flow rate stands between the volumes and the clock")
    _close(sheet)


def heat_metering(sheet: Sheet, medium: str) -> None:
    """Heat: settlement heat, heat, power, flow, volume, two temperatures, hours, clock, ST (43 bytes)."""
    first = _order(sheet)
    for name, chinese in (SETTLEMENT["energy"], CUMULATIVE["energy"]):
        sheet.quantity(name, chinese, unit_first=first)
    _heat_rates(sheet, first=first)
    _temperatures(sheet)
    sheet.number("working_time", "累积工作时间", 3, 0, "h")
    _close(sheet)


def metering_2(sheet: Sheet, medium: str) -> None:
    """911F (2018, lengths by inference): heat and cooling, two pressures beside the temperatures."""
    first = _order(sheet)
    sheet.quantity("settlement_energy", "结算日热量", unit_first=first)
    sheet.quantity("settlement_cooling_energy", "结算日冷量", unit_first=first)
    sheet.quantity("cumulative_energy", "当前热量", unit_first=first)
    sheet.quantity("cumulative_cooling_energy", "当前冷量", unit_first=first)
    _heat_rates(sheet, first=first)
    _temperatures(sheet)
    sheet.number("supply_pressure", "供水压力", 3, -2, None)
    sheet.number("return_pressure", "回水压力", 3, -2, None)
    sheet.number("working_time", "累积工作时间", 3, 0, "h")
    _close(sheet)


def _order(sheet: Sheet) -> bool:
    first = units_first(sheet)
    if first:
        sheet.odd("unit-order", "units precede their values")
    return first


def _heat_rates(sheet: Sheet, *, first: bool) -> None:
    sheet.quantity("power", "热功率", unit_first=first)
    sheet.quantity("flow_rate", "流量", exponent=-4, unit_first=first)
    sheet.quantity("cumulative_volume", "累积流量", unit_first=first)


def _temperatures(sheet: Sheet) -> None:
    sheet.temperature("supply_temperature", "供水温度")
    sheet.temperature("return_temperature", "回水温度")


def _close(sheet: Sheet) -> None:
    """Clock and ST at the end of a metering answer; two bytes alone are ST."""
    if sheet.left == 2:
        sheet.read_status()
        sheet.fits(7, "clock")
    elif sheet.read_clock():
        sheet.read_status()


def history(sheet: Sheet, medium: str) -> None:
    """D120..D12B and the volume form of D200..D2FF: one quantity frozen on a settlement day."""
    first = _order(sheet)
    name, chinese = SETTLEMENT[kind(sheet, medium, first=first)]
    sheet.quantity(name, chinese, unit_first=first)


def history_2(sheet: Sheet, medium: str) -> None:
    """D200..D2FF (历史计量数据2): heat, cooling and volume of a heat meter, one volume of others."""
    if medium != "heat" or sheet.left < 15:
        history(sheet, medium)
        return
    sheet.quantity("settlement_energy", "结算日热量")
    sheet.quantity("settlement_cooling_energy", "结算日冷量")
    sheet.quantity("settlement_volume", "结算日累积流量")


def freeze(sheet: Sheet, medium: str) -> None:
    """D300..D4FF: freeze time, volume, flow, temperature, pressure (23 bytes; heat layout not public)."""
    if medium == "heat" and sheet.left != 23:
        opaque(sheet, medium)
        return
    sheet.moment("freeze_time", "冻结时间")
    name, chinese = CUMULATIVE[kind(sheet, medium)]
    sheet.quantity(name, chinese)
    sheet.quantity("flow_rate", "流量", exponent=-4)
    sheet.temperature("temperature", "温度")
    sheet.number("pressure", "压力", 3, -2, None)


def sync(sheet: Sheet, medium: str) -> None:
    """A016: the reading the register is set to, and its unit."""
    name, chinese = CUMULATIVE[kind(sheet, medium)]
    sheet.quantity(name, chinese)


VALVE_ACTIONS: Final = {
    0x55: ("open", "open 开阀"),
    0x99: ("close", "close 关阀"),
    0x66: ("vendor-66", "vendor: free open"),
    0x77: ("vendor-77", "vendor: free close"),
    0x00: ("vendor-00", "vendor: query"),
}


def valve(sheet: Sheet, medium: str) -> None:
    """A017: 55 open, 99 close; other codes are a vendor's."""
    if sheet.fits(1, "valve action"):
        code = sheet.take(1, "valve action", "阀门动作")[0]
        sheet.action, said = VALVE_ACTIONS.get(code, (None, "unknown action"))
        sheet.say(said)


def write_address(sheet: Sheet, medium: str) -> None:
    """A018: the new address, seven bytes, low byte first."""
    if sheet.fits(7, "new address"):
        sheet.new_address = printed(sheet.take(7, "new address", "新地址"))
        sheet.say(sheet.new_address)


def address(sheet: Sheet, medium: str) -> None:
    """810A: normally nothing, the address stands in the header; seven bytes repeat it and are compared (5.1)."""
    if sheet.left == 7:
        raw = sheet.take(7, "address", "地址")
        sheet.say(printed(raw))
        if raw != sheet.address:
            sheet.odd(
                "address-differs",
                f"the address in the data, {printed(raw)}, differs from that of the header, {printed(sheet.address)}",
            )


def opaque(sheet: Sheet, medium: str) -> None:
    """A payload whose layout is not public: bytes."""
    if sheet.left:
        sheet.take(sheet.left, "payload", "数据", "layout not known")
    sheet.complete = False


def field(sheet: Sheet, row: Field) -> None:
    """One field of the catalogue."""
    if row.kind == "quantity":
        sheet.quantity(row.name, row.chinese, exponent=row.exponent)
    elif row.unit == "degC":
        sheet.temperature(row.name, row.chinese)
    elif row.kind == "number":
        sheet.number(row.name, row.chinese, row.size, row.exponent, row.unit)
    elif row.kind == "count":
        sheet.whole_number(row.name, row.chinese)
    elif row.kind == "clock":
        sheet.read_clock(row.name, row.chinese)
    elif row.kind == "moment":
        sheet.moment(row.name, row.chinese)
    elif row.kind == "status":
        sheet.read_status()
    elif sheet.left:
        sheet.take(min(row.size, sheet.left), row.name, row.chinese, "key bytes")


def listed(names: tuple[str, ...]) -> Layout:
    """The layout of a row of the catalogue whose fields stand one behind the other and are always the same."""

    def read(sheet: Sheet, medium: str) -> None:
        for name in names:
            field(sheet, FIELDS[name])

    return read


SPECIAL: Final[dict[int, Layout]] = {
    ids.METERING: metering,
    ids.METERING_2: metering_2,
    ids.ADDRESS: address,
    ids.WRITE_SYNC: sync,
    ids.VALVE: valve,
    ids.WRITE_ADDRESS: write_address,
}
"""Identifiers whose bytes say more of their layout than their row does."""


def answer_layout(di: int) -> Layout:
    """The layout of a read answer; `opaque` for identifiers without a public one."""
    if di in SPECIAL:
        return SPECIAL[di]
    if 0xD120 <= di <= 0xD12B:
        return history
    ranges: dict[int, Layout] = {0xD2: history_2, 0xD3: freeze, 0xD4: freeze}
    row = row_of(di)
    if di >> 8 in ranges or row is None:
        return ranges.get(di >> 8, opaque)
    return opaque if row.up == BYTES else listed(row.up)


def write_layout(di: int) -> Layout:
    """The layout of what a write request carries; `opaque` for identifiers without a public one."""
    row = row_of(di)
    if di in SPECIAL:
        return SPECIAL[di]
    return opaque if row is None or row.down == BYTES else listed(row.down)
