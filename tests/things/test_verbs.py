"""Commands by name: each row makes the frame that the table knows it by, within its bounds, and meters understand it."""

from __future__ import annotations

import pytest

from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.gas import GasMeter
from meterseal.edge.meter import Meter
from meterseal.edge.water import WaterMeter
from meterseal.errors import LocalError
from meterseal.link.acts import COMMANDS, Act, act_of
from meterseal.model import Medium, medium_of
from meterseal.things.answers import answers
from meterseal.things.verbs import frame_of, given, split
from meterseal.wire import roles
from meterseal.wire.frame import Frame, address_of, parse_frame
from meterseal.wire.profile import profile_of, profiles

NOW = 1_795_230_000_000
WATER = bytes.fromhex("1078330011223344")
GAS = bytes.fromhex("3078330011223355")
HEAT = bytes.fromhex("2078330011223366")
ELECTRIC = bytes.fromhex("d700000000000161")
SAID: dict[Act, dict[str, str]] = {
    "time": {"at": "2026-11-21T14:30:00"},
    "freeze-parameters": {"bytes": "01020304"},
    "settlement-day": {"day": "28"},
    "reading-day": {"day": "1"},
    "alarm-volume": {"volume": "12.5"},
    "alarm-amount": {"amount": "20.00"},
    "overdraft": {"amount": "5"},
    "communication": {"bytes": "08"},
    "price": {
        "price1": "2.85",
        "volume1": "180",
        "price2": "3.97",
        "volume2": "260",
        "price3": "6.35",
        "start": "1",
    },
    "day-table": {"periods": "6:1,22:4"},
    "purchase": {"serial": "1", "amount": "100.00"},
    "load-limit": {"limit": "8.8"},
    "firmware": {"manifest": "5a" * 32},
}
"""What is given to each row that takes something (an address has another length in each protocol)."""


def made(device_id: bytes, act: Act, **said: str) -> Frame:
    given_here = said or SAID.get(act, {})
    return frame_of(device_id, act, given_here, profile_of(device_id), ser=7, until=NOW + 60_000, now=NOW)


def cases() -> list[tuple[Act, Medium, bytes]]:
    devices: dict[Medium, bytes] = {"water": WATER, "gas": GAS, "heat": HEAT, "electricity": ELECTRIC}
    return [
        (act, medium, device_id)
        for act, row in COMMANDS.items()
        for medium, device_id in devices.items()
        if address_of(device_id)[0] in row.forms and (not row.media or medium in row.media)
    ]


@pytest.mark.parametrize(("act", "medium", "device_id"), cases())
def test_the_frame_of_a_row_is_known_as_that_row_and_fits_a_record(
    act: Act, medium: Medium, device_id: bytes
) -> None:
    said = (
        {"address": "78330011223399" if medium != "electricity" else "000000000199"}
        if act == "address"
        else {}
    )
    frame = made(device_id, act, **said)
    assert frame.device_id == device_id
    assert parse_frame(frame.encode(), 0, frame.protocol)[0] == frame
    assert len(frame.data) <= 47
    assert act_of(frame, medium) == act
    if act != "read":
        ask = roles.ask_of(frame, profile_of(device_id))
        assert ask.kind == COMMANDS[act].forms[frame.protocol].kind


@pytest.mark.parametrize("name", sorted(profiles()))
def test_a_settlement_day_or_a_reading_reaches_every_model_its_own_way(name: str) -> None:
    profile = profiles()[name]
    device_id = WATER if profile.protocol == "cjt188" else ELECTRIC
    if profile.protocol == "dlt645" and profile.dlt645.edition == "1997":
        with pytest.raises(LocalError) as refused:
            frame_of(device_id, "settlement-day", {"day": "9"}, profile, ser=7, until=NOW, now=NOW)
        assert refused.value.code == "wire.field"
        return
    frame = frame_of(device_id, "settlement-day", {"day": "9"}, profile, ser=7, until=NOW, now=NOW)
    medium = medium_of(device_id) or "water"
    assert act_of(frame, medium) == "settlement-day"


# --- what meters make of them ---------------------------------------------------------------------------


def told(meter: Meter, act: Act, **said: str) -> str | None:
    """Whether the meter's own answer confirms the command, by the rules of the queue."""
    frame = made(meter.device_id, act, **said)
    answer = meter.act(frame, NOW)
    return answers(frame.protocol, frame.encode(), answer.encode())


@pytest.mark.parametrize(
    "act",
    [
        "time",
        "settlement-day",
        "reading-day",
        "alarm-volume",
        "alarm-amount",
        "communication",
        "price",
        "purchase",
    ],
)
def test_a_water_meter_does_it_and_says_so(act: Act) -> None:
    meter = WaterMeter(WATER)
    before = meter.state
    assert told(meter, act) == "done"
    assert meter.state != before


def test_what_was_written_is_what_was_said() -> None:
    meter = WaterMeter(WATER)
    for act in ("settlement-day", "alarm-volume", "alarm-amount", "price", "purchase", "time"):
        assert told(meter, act) == "done", act  # type: ignore[arg-type]
    account = meter.state.account
    assert (account.alarm_volume, account.alarm_amount) == (1250, 2000)
    assert (account.prices, account.steps, account.start_day) == ((285, 397, 635), (180, 260), 1)
    assert (account.bought, account.serial) == (10_000, 1)
    assert meter.state.parameters.settlement_day == 28
    assert meter.clock(NOW) == 1_795_242_600_000  # 14:30 in Shanghai


def test_an_electricity_meter_takes_limits_days_and_tables() -> None:
    meter = ElectricityMeter(ELECTRIC)
    for act in ("settlement-day", "alarm-amount", "overdraft", "load-limit", "day-table", "freeze", "time"):
        assert told(meter, act) == "done", act  # type: ignore[arg-type]
    assert meter.state.load.limit == 8_800
    assert meter.state.account.alarm_amount == 2000
    assert meter.state.account.overdraft == 500
    assert meter.state.parameters.settlement_day == 28
    hours = meter.state.parameters.tariff_hours
    assert hours is not None
    assert hours[5:7] == (4, 1)
    assert hours[21:23] == (1, 4)


def test_a_purchase_repeated_credits_once_and_a_skipped_serial_is_refused() -> None:
    meter = WaterMeter(WATER)
    assert [told(meter, "purchase") for _ in range(2)] == ["done", "done"]
    assert meter.state.account.bought == 10_000
    assert told(meter, "purchase", serial="3", amount="100") == "refused"
    assert meter.state.account.bought == 10_000


def test_a_gas_meter_is_only_permitted_to_be_opened() -> None:
    meter = GasMeter(GAS)
    assert told(meter, "valve-close") == "done"
    assert told(meter, "valve-permit") == "done"
    assert meter.state.valve == "closed"


def test_a_meter_with_a_module_keeps_its_address() -> None:
    meter = WaterMeter(WATER)
    assert told(meter, "address", address="78330011223399") == "refused"
    assert meter.device_id == WATER


# --- what a person may give -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("settlement-day", {"day": "0"}),
        ("settlement-day", {"day": "29"}),
        ("settlement-day", {"day": "1.5"}),
        ("settlement-day", {"day": "nan"}),
        ("settlement-day", {"day": "1e99999999"}),
        ("settlement-day", {"day": "x"}),
        ("settlement-day", {"other": "1"}),
        ("purchase", {"serial": "1", "amount": "0"}),
        ("purchase", {"serial": "256", "amount": "1"}),
        ("purchase", {"serial": "1", "amount": "1.005"}),
        ("purchase", {"serial": "1", "amount": "1000000"}),
        ("purchase", {"serial": "1"}),
        ("alarm-volume", {"volume": "-1"}),
        ("freeze-parameters", {"bytes": "0102"}),
        ("time", {"at": "noon"}),
        ("address", {"address": "12"}),
    ],
)
def test_what_is_out_of_bounds_makes_no_frame(act: Act, said: dict[str, str]) -> None:
    with pytest.raises(LocalError) as refused:
        made(WATER, act, **said)
    assert refused.value.code == "use.fields"


@pytest.mark.parametrize("periods", ["", "6", "6:5", "24:1", "22:4,6:1", "6:1,6:2", ",".join(["1:1"] * 12)])
def test_a_day_table_rises_through_one_day(periods: str) -> None:
    with pytest.raises(LocalError) as refused:
        made(ELECTRIC, "day-table", periods=periods)
    assert refused.value.code == "use.fields"


def test_words_of_a_command_line_name_a_row_and_its_fields() -> None:
    assert split(("valve", "close")) == ("valve-close", ())
    assert split(("relay", "keep", "off")) == ("relay-keep-off", ())
    assert split(("read", "901F")) == ("read", ("901F",))
    assert split(("settlement-day", "day=1")) == ("settlement-day", ("day=1",))
    assert given("read", ("901F",)) == {"identifier": "901F"}
    assert given("purchase", ("serial=1", "amount=2")) == {"serial": "1", "amount": "2"}
    for act, words in (
        ("purchase", ("5",)),
        ("price", ("a=1",)),
        ("valve-close", ("now",)),
        ("purchase", ("serial=1",) * 2),
    ):
        with pytest.raises(LocalError):
            given(act, words)  # type: ignore[arg-type]
    for words in ((), ("fly",), ("valve",)):
        with pytest.raises(LocalError) as refused:
            split(words)
        assert refused.value.code == "use.act"
