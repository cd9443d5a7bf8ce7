"""Every meter model, simulated, asked for everything that a master can ask, and written everything that can be written.

What comes back is read by the other half of the wire (`roles.stated`, `decode`) and held against sums made here.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

import pytest
from msgspec.structs import replace

from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.gas import GasMeter
from meterseal.edge.heat import HeatMeter
from meterseal.edge.meter import Meter
from meterseal.edge.metering import clock
from meterseal.edge.metering.behaviour import behave
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS
from meterseal.edge.metering.inputs import FrozenNow, Measured, Ordered
from meterseal.edge.metering.state import TARIFF_HOURS, MeterState
from meterseal.edge.node import Node
from meterseal.edge.water import WaterMeter
from meterseal.model import Medium
from meterseal.wire import encode, roles
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Ask, Credentials
from meterseal.wire.catalogue import ROWS
from meterseal.wire.decode import decode
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.profile import Profile, profiles
from meterseal.wire.sheet import Value
from meterseal.wire.values import Stated
from tests.wire import built

HOUR, DAY = 3_600_000, 86_400_000
SINCE = 1_791_734_400_000  # 2026-10-12 00:00 +08
DAYS = 40
NOW = SINCE + DAYS * DAY + 30 * 60_000
KINDS: dict[Medium, type[Meter]] = {
    "water": WaterMeter,
    "gas": GasMeter,
    "heat": HeatMeter,
    "electricity": ElectricityMeter,
}
FIRST = 123_400
"""Register that every meter begins with, hundredths."""
USE, CARRIED = 35_000, 13_000
"""Millionths an hour, and of the water that carries heat or of the energy fed in."""
FACTORS = {"m3": 1, "L": 1000, "kWh": 1, "MWh": Decimal("0.001"), "GJ": Decimal("0.0036"), "kW": 1, "": 1}


def total(hours: int, first: int = FIRST, use: int = USE) -> int:
    return first + hours * use // 10_000


@pytest.fixture(scope="module")
def lived() -> dict[Medium, MeterState]:
    """Each medium after forty days of even use, with two instant freezes half way."""
    found: dict[Medium, MeterState] = {}
    for medium, design in DESIGNS.items():
        state = born(design, SINCE, (FIRST,))
        for hour in range(1, DAYS * 24 + 1):
            totals = (hour * USE, hour * CARRIED)[: 1 if len(design.registers) == 1 else 2]
            shown = Measured(totals, watts=35, supply=4_500, back=3_500)
            state = behave(design, state, shown, SINCE + hour * HOUR).state
            if hour in (480, 481):
                state = behave(design, state, FrozenNow(), SINCE + hour * HOUR).state
        found[medium] = state
    return found


def meter_month(at: int) -> int:
    """Local midnight of the first of the month of `at`, the settlement day."""
    return clock.settlement(at, 1, 480)


def device_of(profile: Profile) -> bytes:
    raw = bytes.fromhex(profile.vectors[0].hex).lstrip(b"\xfe")
    return parse_frame(raw, 0, profile.protocol)[0].device_id


def made(profile: Profile, lived: dict[Medium, MeterState]) -> Meter:
    return KINDS[profile.medium](device_of(profile), state=lived[profile.medium], profile=profile)


def asked(meter: Meter, di: int) -> Frame:
    """The meter's answer to a request that a master of its model makes."""
    kind = "read-key-version" if di == ids.KEY_VERSION and meter.protocol == "cjt188" else "read"
    request = roles.request(meter.device_id, Ask(kind=kind, di=di, ser=9), meter.profile)  # type: ignore[arg-type]
    answer, _ = parse_frame(Node(meter).answer(request, NOW), 0, meter.protocol)
    assert roles.matches(request, answer, meter.profile).answers, (meter.profile.name, f"{di:X}")
    return answer


def said(meter: Meter, di: int) -> dict[str, Stated]:
    answer = asked(meter, di)
    assert not answer.control & 0x40, (meter.profile.name, f"{di:X}", answer.data.hex())
    return roles.stated(answer, meter.profile)


def refused(meter: Meter, di: int) -> bool:
    return bool(asked(meter, di).control & 0x40)


def number(value: Stated) -> Decimal | None:
    assert isinstance(value, Value)
    return value.value


def worth(register: int, value: Stated, exponent: int = -2) -> Decimal:
    """A register in the unit and with the decimals in which `value` came: cut, and eight digits of it."""
    assert isinstance(value, Value)
    exact = Decimal(register).scaleb(exponent) * FACTORS[value.unit or ""]
    return exact.quantize(Decimal(1).scaleb(value.exponent), ROUND_DOWN) % Decimal(10**8).scaleb(
        value.exponent
    )


GATHERED = [profile for profile in profiles().values() if profile.protocol == "cjt188"]
WIRED = [profile for profile in profiles().values() if profile.protocol == "dlt645"]


@pytest.mark.parametrize("profile", GATHERED, ids=lambda one: one.name)
def test_every_model_says_its_registers_in_its_own_units_layout_and_order(
    profile: Profile, lived: dict[Medium, MeterState]
) -> None:
    meter = made(profile, lived)
    if profile.cjt188.payload_of(ids.METERING) == ("payload",):
        payload = said(meter, ids.METERING)["payload"]  # the maker's bytes, as they were captured
        assert payload in (roles.stated(frame, profile).get("payload") for frame in captured(profile))
        return
    found = said(meter, ids.METERING)
    main = "energy" if profile.medium == "heat" else "volume"
    hours = DAYS * 24
    assert number(found[f"cumulative_{main}"]) == worth(total(hours), found[f"cumulative_{main}"])
    month = total(20 * 24)  # 1 November
    assert number(found[f"settlement_{main}"]) == worth(month, found[f"settlement_{main}"])
    assert found["clock"] == "2026-11-21T00:30:00"
    assert found["status"] == b"\x00\x00"
    if profile.medium == "heat":
        assert number(found["cumulative_volume"]) == worth(
            total(hours, 0, CARRIED), found["cumulative_volume"]
        )
        assert number(found["power"]) == worth(total(hours) - total(hours - 1), found["power"])
        assert number(found["supply_temperature"]) == 45
        assert number(found["working_time"]) == hours


@pytest.mark.parametrize(
    "profile", [one for one in profiles().values() if one.protocol == "cjt188"], ids=lambda one: one.name
)
def test_what_closes_a_day_is_the_editions_901f_byte_for_byte_whatever_the_model(
    profile: Profile, lived: dict[Medium, MeterState]
) -> None:
    meter = made(profile, lived)
    at = SINCE + DAYS * DAY
    (report,) = meter.reports(at)
    frozen, status = total(DAYS * 24), meter.status_word(at)
    settled = total((meter_month(at) - SINCE) // HOUR)
    if profile.medium == "heat":
        assert (
            report.data[3:18]
            == built.heat_payload(frozen, settled, at, status, power=frozen - total(DAYS * 24 - 1))[:15]
        )
        assert report.data[-9:] == built.heat_payload(0, 0, at, status)[-9:]
        assert len(report.data) == 46
    else:
        payload = built.volume_payload(frozen, settled, at, status)
        assert report == built.current_data_answer(meter.device_id, payload)


def captured(profile: Profile) -> list[Frame]:
    return [
        parse_frame(bytes.fromhex(vector.hex).lstrip(b"\xfe"), 0, profile.protocol)[0]
        for vector in profile.vectors
    ]


@pytest.mark.parametrize("profile", GATHERED, ids=lambda one: one.name)
def test_every_identifier_of_the_catalogue_is_answered_or_refused_and_never_met_with_silence(
    profile: Profile, lived: dict[Medium, MeterState]
) -> None:
    meter = made(profile, lived)
    good = set()
    for row in ROWS:
        if row.writes or row.kind in ("segment", "intervals", "found", "alarm", "clock-seen", "read-address"):
            continue
        for di in {row.di, row.last or row.di}:
            answer = asked(meter, di)
            if not answer.control & 0x40:
                good.add(di)
                assert decode(answer.encode().hex()).answer["valid"]
            else:
                assert answer.data[-1] & 0x02 or profile.cjt188.error_codes
    new = {0xD200, 0xD300, 0xD3FF, 0xD400} if profile.medium != "heat" else {0xD200, ids.METERING_2}
    old = {ids.METERING, 0xD120, 0x8102, 0x8103, 0x8104, 0x8105}
    if profile.medium == "heat":
        assert good - {0x907F, ids.KEY_VERSION} == old | (new if profile.cjt188.edition != "2004" else set())
    else:
        assert old <= good | ({ids.METERING} if profile.name == "gas-2305" else set())
        assert good <= old | new | {0x907F, ids.KEY_VERSION}


def test_history_freezes_hours_and_instants_come_newest_first(lived: dict[Medium, MeterState]) -> None:
    meter = made(profiles()["water-generic"], lived)
    assert number(said(meter, 0xD120)["settlement_volume"]) == Decimal(total(480)) / 100
    assert refused(meter, 0xD121)
    for back in (0, 1, 39):
        found = said(meter, 0xD200 + back)
        assert number(found["settlement_volume"]) == Decimal(total((DAYS - back) * 24)) / 100
    assert refused(meter, 0xD200 + 40)
    for back in (0, 1, 255):
        found = said(meter, 0xD300 + back)
        assert number(found["cumulative_volume"]) == Decimal(total(DAYS * 24 - back)) / 100
    newest = said(meter, 0xD400)
    assert number(newest["cumulative_volume"]) == Decimal(total(481)) / 100
    assert number(said(meter, 0xD401)["cumulative_volume"]) == Decimal(total(480)) / 100
    assert refused(meter, 0xD402)


# --- writes on CJ/T 188 -----------------------------------------------------------------------------------


def written(meter: Meter, kind: str, *, ser: int = 3, **more: object) -> Frame:
    request = roles.request(meter.device_id, Ask(kind=kind, ser=ser, **more), meter.profile)  # type: ignore[arg-type]
    answer = meter.act(request, NOW)
    assert roles.matches(request, answer, meter.profile).answers
    return answer


def fails(answer: Frame) -> bool:
    return bool(answer.control & 0x40)


def test_what_is_written_is_read_back(lived: dict[Medium, MeterState]) -> None:
    meter = made(profiles()["water-generic"], lived)
    prices = {"price_1": 220, "volume_1": 15, "price_2": 330, "volume_2": 25, "price_3": 550}
    assert not fails(written(meter, "price", values={**prices, "start_day": 1}))
    table = said(meter, 0x8102)
    assert {name: number(table[name]) for name in prices} == {
        name: Decimal(value) / (100 if "price" in name else 1) for name, value in prices.items()
    }
    assert not fails(written(meter, "settlement-day", values={"settlement_day": 15}))
    assert number(said(meter, 0x8103)["settlement_day"]) == 15
    assert number(said(meter, 0xD120)["settlement_volume"]) == Decimal(total((31 + 15 - 12) * 24)) / 100
    assert not fails(written(meter, "reading-day", values={"reading_day": 7}))
    assert number(said(meter, 0x8104)["reading_day"]) == 7
    assert not fails(written(meter, "purchase", values={"purchase_serial": 1, "purchase_amount": 5_000}))
    assert not fails(written(meter, "purchase", values={"purchase_serial": 1, "purchase_amount": 5_000}))
    bought = said(meter, 0x8105)
    assert [
        number(bought[name]) for name in ("purchase_amount", "total_purchase_amount", "remaining_amount")
    ] == [Decimal(50)] * 3
    assert not fails(written(meter, "time", at=NOW + 7_000))
    assert said(meter, ids.METERING)["clock"] == "2026-11-21T00:30:07"
    assert not fails(written(meter, "sync", values={"cumulative_volume": 7_77}))
    assert number(said(meter, ids.METERING)["cumulative_volume"]) == Decimal("7.77")
    assert not fails(written(meter, "alarm-amount", values={"alarm_amount": 100}))
    assert not fails(written(meter, "alarm-volume", values={"alarm_volume": 300}))
    assert (meter.state.account.alarm_amount, meter.state.account.alarm_volume) == (100, 300)
    for action, on in (("enter", True), ("leave", False)):
        assert not fails(written(meter, "verification", action=action))
        assert meter.state.parameters.verifying is on
    assert not fails(written(meter, "communication", payload=b"\x05"))
    assert not fails(written(meter, "freeze-parameters", payload=b"\x01\x02\x03\x04"))
    assert meter.state.parameters.freezing == b"\x01\x02\x03\x04"
    assert not fails(written(meter, "factory-enable"))
    assert fails(written(meter, "sync", values={"cumulative_volume": 1}))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("settlement-day", {"settlement_day": 0}),
        ("settlement-day", {"settlement_day": 29}),
        ("reading-day", {"reading_day": 31}),
        ("purchase", {"purchase_serial": 2, "purchase_amount": 100}),
        ("purchase", {"purchase_serial": 1, "purchase_amount": 0}),
        (
            "price",
            {"price_1": 1, "volume_1": 20, "price_2": 2, "volume_2": 10, "price_3": 3, "start_day": 1},
        ),
        ("write-address", {"new_address": "12345678901234"}),
        ("key", {"key_version": 2, "new_key": bytes(8)}),
    ],
)
def test_what_a_meter_may_not_take_is_refused_and_changes_nothing(
    kind: str, values: dict[str, Stated], lived: dict[Medium, MeterState]
) -> None:
    meter = made(profiles()["water-generic"], lived)
    answer = written(meter, kind, values=values)
    assert fails(answer)
    after = replace(meter.state, power=lived["water"].power)
    assert after == lived["water"]


def test_a_write_in_clear_is_refused_but_on_a_bench(lived: dict[Medium, MeterState]) -> None:
    profile = profiles()["water-generic"]
    day = roles.request(
        device_of(profile), Ask(kind="settlement-day", ser=1, values={"settlement_day": 9}), profile
    )
    held = made(profile, lived)
    assert fails(parse_frame(Node(held).answer(day, NOW))[0])
    bench = WaterMeter(device_of(profile), state=lived["water"], profile=profile, clear_writes=True)
    assert not fails(parse_frame(Node(bench).answer(day, NOW))[0])
    assert bench.state.parameters.settlement_day == 9
    moved = Ask(kind="write-address", ser=1, values={"new_address": "78330000000099"})
    assert not fails(parse_frame(Node(bench).answer(roles.request(bench.device_id, moved, profile), NOW))[0])
    assert bench.device_id == bytes.fromhex("1078330000000099")
    assert not refused(bench, ids.METERING)
    bench.feed(Ordered("close"), NOW)
    assert bench.device_id == bytes.fromhex("1078330000000099")


@pytest.mark.parametrize("profile", [one for one in GATHERED if one.valve], ids=lambda one: one.name)
def test_every_model_with_a_valve_closes_it_by_its_own_code(
    profile: Profile, lived: dict[Medium, MeterState]
) -> None:
    meter = made(profile, lived)
    assert not fails(written(meter, "valve", action="close"))
    assert meter.state.valve == "closed"
    assert not fails(written(meter, "valve", action="open"))
    assert meter.state.valve == ("closed" if profile.medium == "gas" else "open")


def test_a_register_is_set_in_the_unit_of_the_model(lived: dict[Medium, MeterState]) -> None:
    meter = made(profiles()["water-litres"], lived)
    before = number(said(meter, ids.METERING)["cumulative_volume"])
    assert before == Decimal(total(DAYS * 24)) * 10 - 10**6  # six digits before the point
    litres = Value(Decimal(5_000), "L", 5_000 * 100, -2)
    assert not fails(written(meter, "sync", values={"cumulative_volume": litres}))
    assert meter.state.counts[0] == 500 * 10_000


def test_noise_for_this_meter_is_refused_and_never_raises(lived: dict[Medium, MeterState]) -> None:
    for profile in profiles().values():
        meter = made(profile, lived)
        state = meter.state
        for control in set(range(0x80)) - {0x1B}:  # twelve zeros are a good order to clear events
            for data in (b"", b"\x90", b"\x90\x1f", b"\xa0\x17\x01\x77", bytes(12), b"\x99" * 14):
                frame = Frame(profile.protocol, meter.device_id[0], meter.wire_address, control, data)
                for answer in (meter.handle(frame, NOW, clear=True), meter.act(frame, NOW)):
                    assert answer is not None
                    assert answer.control & 0x80
        assert replace(meter.state, power=state.power) == state


# --- DL/T 645 ---------------------------------------------------------------------------------------------


def tariff_total(tariff: int, hours: int) -> int:
    return sum(USE for hour in range(hours) if TARIFF_HOURS[hour % 24] == tariff) // 10_000


@pytest.mark.parametrize("profile", WIRED, ids=lambda one: one.name)
def test_every_electricity_model_says_energies_by_direction_and_tariff(
    profile: Profile, lived: dict[Medium, MeterState]
) -> None:
    meter, hours = made(profile, lived), DAYS * 24
    old = profile.dlt645.edition == "1997"
    energies = said(meter, 0x901F if old else 0x0001FF00)
    assert number(energies["forward_active_energy"]) == Decimal(total(hours)) / 100
    for tariff in range(1, 5):
        found = number(energies[f"forward_active_energy_tariff_{tariff}"])
        assert found == Decimal(tariff_total(tariff, hours)) / 100
    assert "forward_active_energy_tariff_5" not in energies
    back = said(meter, 0x9020 if old else 0x00020000)["reverse_active_energy"]
    assert number(back) == Decimal(total(hours, 0, CARRIED)) / 100
    month = said(meter, 0x9410 if old else 0x00010001)["forward_active_energy_settlement_1"]
    assert number(month) == Decimal(total(480)) / 100
    assert refused(meter, 0x9040 if old else 0x00090000)


def test_electricity_freezes_powers_parameters_and_states(lived: dict[Medium, MeterState]) -> None:
    meter = made(profiles()["electricity-generic"], lived)
    day = said(meter, 0x05060101)
    assert number(day["forward_active_energy_daily_freeze_1"]) == Decimal(total(DAYS * 24)) / 100
    assert (
        number(said(meter, 0x05060127)["forward_active_energy_daily_freeze_39"]) == Decimal(total(48)) / 100
    )
    assert refused(meter, 0x05060129)
    assert said(meter, 0x05010001)
    assert number(said(meter, 0x05040102)["forward_active_energy_hourly_freeze_2"]) == worth(
        total(DAYS * 24 - 1), said(meter, 0x05040102)["forward_active_energy_hourly_freeze_2"]
    )
    assert number(said(meter, 0x02030000)["active_power"]) == Decimal("0.035")
    assert number(said(meter, 0x02010100)["voltage_a"]) == 230
    clock = asked(meter, 0x0400010C)
    assert clock.data[4:] == bytes.fromhex("00300006211126")
    meter.feed(Ordered("close"), NOW)
    assert said(meter, 0x04000503)["status_word_3"] is not None
    assert asked(meter, 0x04000503).data[4:] == b"\x10\x00"
    assert number(said(meter, 0x02030000)["active_power"]) == 0


def write_645(meter: Meter, di: int, payload: bytes) -> Frame:
    data = di.to_bytes(4, "little") + bytes(8) + payload
    return meter.act(Frame("dlt645", 0, meter.wire_address, 0x14, data), NOW)


def test_electricity_parameters_are_written_and_read_back(lived: dict[Medium, MeterState]) -> None:
    meter = made(profiles()["electricity-generic"], lived)
    assert not fails(write_645(meter, 0x04000B01, b"\x00\x15"))
    assert asked(meter, 0x04000B01).data[4:] == b"\x00\x15"
    assert fails(write_645(meter, 0x04000B01, b"\x05\x15"))
    assert not fails(write_645(meter, 0x0400010C, bytes.fromhex("10300006211126")))
    assert asked(meter, 0x04000102).data[4:] == bytes.fromhex("103000")
    assert not fails(write_645(meter, 0x04000102, bytes.fromhex("154501")))
    assert not fails(write_645(meter, 0x04000101, bytes.fromhex("00221126")))
    assert asked(meter, 0x0400010C).data[4:] == bytes.fromhex("15450100221126")
    table = bytes.fromhex("040000 030007 020010 030012 040022".replace(" ", ""))
    assert not fails(write_645(meter, 0x04010001, table))
    assert meter.state.parameters.tariff_hours == (4,) * 7 + (3,) * 3 + (2,) * 2 + (3,) * 10 + (4,) * 2
    assert asked(meter, 0x04010001).data[4:] == table
    for wrong in ("050000", "033000", "030012030007"):
        assert fails(write_645(meter, 0x04010001, bytes.fromhex(wrong)))
    assert not fails(write_645(meter, 0x04000E01, bytes.fromhex("000002")))
    assert meter.state.load.limit == 2_000
    assert not fails(write_645(meter, 0x04001001, bytes.fromhex("00100000")))
    assert meter.state.account.alarm_amount == 1_000
    assert fails(write_645(meter, 0x04000401, bytes(6)))
    frozen = Frame("dlt645", 0, meter.wire_address, 0x16, b"\x99" * 4)
    assert not fails(meter.act(frozen, NOW))
    assert len(meter.state.book.instants) == 3
    assert fails(meter.act(replace(frozen, data=b"\x00\x00\x01\x99"), NOW))
    assert meter.act(Frame("dlt645", 0, meter.wire_address, 0x17, b"\x08"), NOW).data == b"\x08"
    cleared = Frame("dlt645", 0, meter.wire_address, 0x1A, bytes(8))
    assert meter.act(cleared, NOW).data == b"\x04"


def test_a_relay_command_that_came_too_late_is_refused(lived: dict[Medium, MeterState]) -> None:
    meter = made(profiles()["electricity-relay"], lived)
    for until, late in ((NOW - 1_000, True), (NOW + 60_000, False)):
        trip = Ask(kind="relay", action="trip", at=until, credentials=Credentials())
        answer = meter.act(roles.request(meter.device_id, trip, meter.profile), NOW)
        assert fails(answer) is late
    assert meter.state.valve == "closed"
    for action, kept in (("keep-power", True), ("keep-power-off", False)):
        standing = Ask(kind="relay", action=action, at=NOW + HOUR, credentials=Credentials())
        assert not fails(meter.act(roles.request(meter.device_id, standing, meter.profile), NOW))
        assert meter.state.load.kept is kept


def test_a_shortened_address_finds_the_meter_and_a_broadcast_is_never_answered(
    lived: dict[Medium, MeterState],
) -> None:
    meter = made(profiles()["electricity-generic"], lived)
    short = meter.wire_address[:3] + b"\xaa" * 3
    read = encode.read_request(meter.device_id, 0x00010000)
    assert meter.handle(replace(read, address=short), NOW, clear=True) is not None
    assert meter.handle(replace(read, address=b"\x00" * 3 + b"\xaa" * 3), NOW, clear=True) is None
    time = Frame("dlt645", 0, b"\x99" * 6, 0x08, bytes.fromhex("000000010126"))
    assert meter.handle(time, NOW, clear=True) is None
    assert meter.clock(NOW) == NOW
