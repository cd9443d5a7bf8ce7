"""The meters on their bus, judged by vectors, by the decoder and by a client that somebody else wrote."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dlt645 import MeterClientService

from meterseal.edge.delivery import PAGE, DailyOutbox
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.gas import PERMIT, GasMeter
from meterseal.edge.heat import HeatMeter
from meterseal.edge.meter import Meter, MeterState
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS
from meterseal.edge.metering.design import WATER as WATER_DESIGN
from meterseal.edge.metering.inputs import Measured
from meterseal.edge.node import Node
from meterseal.edge.nv import MemoryNv
from meterseal.edge.water import WaterMeter
from meterseal.kit.bus import Bus, BusServer
from meterseal.wire import encode, roles
from meterseal.wire import identifiers as ids
from meterseal.wire.decode import decode
from meterseal.wire.fields import to_bcd
from meterseal.wire.frame import Frame, parse_frame
from tests.edge.platform import Platform

HOUR, DAY = 3_600_000, 86_400_000
SINCE = 1_791_734_400_000  # 2026-10-12 00:00 +08
NOW = SINCE + 25 * DAY + 10 * HOUR
WATER = bytes.fromhex("1078330000000001")
GAS = bytes.fromhex("3078330000000002")
HEAT = bytes.fromhex("2078330000000003")
POWER = bytes.fromhex("d700003100000004")
VECTORS = Path(__file__).parent.parent / "vectors" / "frames.jsonl"


class Counting:
    """A mechanism that counts three hundredths an hour; the load profile lost one hour."""

    since, until = SINCE, SINCE + 25 * DAY

    def register(self, channel: int, at: int) -> int:
        return 100_000 + (at - SINCE) // HOUR * 3 + (7_000 if channel == 2 else 0)

    def stored(self, channel: int, end_at: int) -> int | None:
        return None if end_at == SINCE + 5 * HOUR else self.register(channel, end_at)


def meter(kind: type[Meter], device: bytes, **state: object) -> Meter:
    return kind(device, Counting(), MeterState(**state))  # type: ignore[arg-type]


def ask(node: Node, request: Frame) -> dict:  # type: ignore[type-arg]
    return decode(node.answer(request, NOW).hex()).answer


def test_a_water_meter_answers_901f_as_the_vectors_read_it() -> None:
    node = Node(meter(WaterMeter, WATER, battery_low=True, valve="closed"))
    said = ask(node, encode.read_request(WATER, ids.METERING, 7))
    register = Counting().register(1, NOW)
    assert said["valid"]
    assert said["frame"]["ser"] == 7
    assert Decimal(said["readings"]["cumulative_volume"]["value"]) == Decimal(register) / 100
    assert said["readings"]["cumulative_volume"]["unit"] == "m3"
    month = Counting().register(1, SINCE + 20 * DAY)  # 1 November
    assert Decimal(said["readings"]["settlement_volume"]["value"]) == Decimal(month) / 100
    assert said["clock"] == "2026-11-06T10:00:00"
    assert (said["status"]["valve"], said["status"]["battery_low"]) == ("closed", True)


def test_requests_of_real_masters_are_answered_in_their_own_order() -> None:
    answered = 0
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        said = decode(vector["hex"]).answer
        frame = said.get("frame", {})
        if not said["valid"] or said["protocol"] != "cjt188" or frame["control"] not in ("01", "03"):
            continue
        if frame.get("di") not in ("901F", "810A") or frame["length"] != 3 or frame["meter_type"] != "10":
            continue
        begin = vector["hex"].upper().index("68" + frame["meter_type"])
        request, _ = parse_frame(bytes.fromhex(vector["hex"][begin:]))
        device = WATER if frame["address"] == "A" * 14 else bytes((0x10,)) + bytes.fromhex(frame["address"])
        water = meter(WaterMeter, device)
        parsed, _ = parse_frame(Node(water).answer(request, NOW))
        assert roles.matches(request, parsed, water.profile).answers
        if water.profile.cjt188.answer_order == "echo":
            assert parsed.data[:3] == request.data[:3]
        assert parsed.device_id == device
        assert parsed.control == request.control | 0x80
        answered += 1
    assert answered > 5


def test_a_heat_meter_answers_energy_volume_power_and_temperatures() -> None:
    said = ask(
        Node(meter(HeatMeter, HEAT, supply=4_500, back=3_500)), encode.read_request(HEAT, ids.METERING)
    )
    readings = said["readings"]
    register = Counting().register(1, NOW)
    assert Decimal(readings["cumulative_energy"]["value"]) == Decimal(register) / 100
    assert readings["cumulative_energy"]["unit"] == "kWh"
    assert Decimal(readings["cumulative_volume"]["value"]) == Decimal(register + 7_000) / 100
    assert Decimal(readings["power"]["value"]) == Decimal("0.03")
    assert Decimal(readings["supply_temperature"]["value"]) == 45
    assert Decimal(readings["flow_rate"]["value"]) == Decimal("0.0025")  # 30 W over ten degrees
    assert Decimal(readings["working_time"]["value"]) == 25 * 24 + 10


def test_history_goes_back_by_months_to_the_first_day_stored() -> None:
    node = Node(meter(GasMeter, GAS))
    said = ask(node, encode.read_request(GAS, 0xD120))
    assert said["valid"]
    assert not said["frame"]["error"]
    parsed, _ = parse_frame(node.answer(encode.read_request(GAS, 0xD120), NOW))
    assert parsed.data[3:7] == to_bcd(Counting().register(1, SINCE + 20 * DAY), 4)
    assert ask(node, encode.read_request(GAS, 0xD121))["frame"]["error"]
    assert ask(node, encode.read_request(GAS, 0x8199))["frame"]["error"]


def test_a_meter_is_silent_for_others_and_for_answers() -> None:
    node = Node(meter(WaterMeter, WATER))
    assert node.answer(encode.read_request(GAS, ids.METERING), NOW) == b""
    own = parse_frame(node.answer(encode.read_request(WATER, ids.METERING), NOW))[0]
    assert node.answer(own, NOW) == b""
    assert node.answer(encode.read_request(POWER, 0x00010000), NOW) == b""


def test_the_address_is_told_to_whoever_asks_the_only_meter() -> None:
    said = ask(Node(meter(WaterMeter, WATER)), encode.read_address_request())
    assert said["frame"]["address"] == WATER[1:].hex().upper()


def test_nothing_is_changed_by_a_request_in_clear() -> None:
    for kind, device in ((WaterMeter, WATER), (GasMeter, GAS), (HeatMeter, HEAT)):
        node = Node(meter(kind, device))
        assert ask(node, encode.valve_request(device, opened=False))["frame"]["error"]
        assert node.meter.state.valve == "open"


def test_a_gas_valve_never_opens_by_a_command_alone() -> None:
    gas = meter(GasMeter, GAS)
    gas.act(encode.valve_request(GAS, opened=False), NOW)
    assert gas.state.valve == "closed"
    assert not gas.press_button(NOW)
    gas.act(encode.valve_request(GAS, opened=True), NOW)
    assert gas.state.valve == "closed"
    assert not gas.press_button(NOW + PERMIT)
    gas.act(encode.valve_request(GAS, opened=True), NOW)
    assert gas.press_button(NOW + PERMIT - 1)
    assert gas.state.valve == "open"


def test_a_water_valve_turns_by_an_authorised_command() -> None:
    water = meter(WaterMeter, WATER)
    answer = water.act(encode.valve_request(WATER, opened=False), NOW)
    assert answer.data[-2:] == b"\x01\x00"
    water.act(encode.valve_request(WATER, opened=True), NOW)
    assert water.state.valve == "open"


def test_a_relay_trips_and_closes_and_permits() -> None:
    power = meter(ElectricityMeter, POWER)

    def relay(command: int) -> Frame:
        return Frame("dlt645", 0, power.wire_address, 0x1C, bytes(8) + bytes((command, 0)) + bytes(6))

    power.act(relay(0x1A), NOW)
    assert power.state.valve == "closed"
    power.act(relay(0x1B), NOW)
    assert power.state.valve == "closed"
    assert power.press_button(NOW + 1)
    power.act(relay(0x1A), NOW)
    power.act(relay(0x1C), NOW)
    assert power.state.valve == "open"
    assert power.act(relay(0x77), NOW).control == 0xDC


def test_a_set_clock_shows_in_answers() -> None:
    water = meter(WaterMeter, WATER)
    water.set_clock(NOW + 5_000, NOW)
    assert ask(Node(water), encode.read_request(WATER, ids.METERING))["clock"] == "2026-11-06T10:00:05"


@pytest.mark.parametrize(
    ("kind", "device", "blocks"), [(HeatMeter, HEAT, [20, 4]), (ElectricityMeter, POWER, [24])]
)
def test_a_day_of_the_load_profile_is_hourly_with_what_was_lost_marked(
    kind: type[Meter], device: bytes, blocks: list[int]
) -> None:
    from meterseal.wire.meaning import interpret

    frames = meter(kind, device).interval_frames(SINCE, SINCE + DAY)
    found: list[tuple[int, int | None]] = []
    sizes = []
    for frame in frames:
        block = interpret(frame).interval
        assert block is not None
        sizes.append(len(block.registers))
        found += [(block.start_at + k * HOUR, value) for k, value in enumerate(block.registers)]
    assert sizes == blocks
    assert found == [(at, Counting().stored(1, at)) for at in range(SINCE + HOUR, SINCE + DAY + 1, HOUR)]
    assert found[4][1] is None


async def test_a_client_that_somebody_else_wrote_reads_the_electricity_meter_over_tcp() -> None:
    power = meter(ElectricityMeter, POWER)
    server = BusServer(Bus([Node(power)]), lambda: NOW)
    port = await server.start("127.0.0.1", 0)

    def read() -> list[Any]:
        client = MeterClientService.new_tcp_client("127.0.0.1", port, timeout=5)
        assert client.connect()
        try:
            address = client.read_address()
            assert client.set_address("040000003100")
            energy = client.read_00(0x00010000)
            voltage = client.read_02(0x02010100)
            amperage = client.read_02(0x02020100)
            watts = client.read_02(0x02030000)
            unknown = client.read_00(0x00090000)
        finally:
            client.disconnect()
        return [address, energy, voltage, amperage, watts, unknown]

    try:
        address, energy, voltage, amperage, watts, unknown = await asyncio.to_thread(read)
    finally:
        await server.stop()
    assert address is not None
    assert address.value == "040000003100"  # that client shows wire order
    assert float(energy.value) == Counting().register(1, NOW) / 100
    assert float(voltage.value) == 230.0
    assert float(watts.value) == 0.03
    assert float(amperage.value) == 0.130
    assert unknown is None


def test_after_a_silence_longer_than_its_load_profile_a_meter_goes_on_with_the_oldest_day_it_has() -> None:
    """Days that nobody fetched for longer than they are kept are lost; no later one waits for them."""
    water = WaterMeter(WATER, state=born(WATER_DESIGN, SINCE, (100,)))
    chip, _ = Platform().module(WATER, b"M" + WATER[1:], 2)
    outbox = DailyOutbox(water, chip, MemoryNv())
    assert outbox.next(SINCE) is None
    for hour in range(1, 70 * 24 + 1):
        water.feed(Measured((hour * 10_000,)), SINCE + hour * HOUR)
        if hour == 24:
            (first,) = [outbox.next(SINCE + DAY)]
            assert first is not None
            assert first.what == SINCE + DAY
    oldest = SINCE + (70 - WATER_DESIGN.days) * DAY
    assert water.readings.since == oldest
    ends = []
    while (item := outbox.next(SINCE + 70 * DAY)) is not None:
        ends.append(item.what)
        outbox.done([item])
    assert ends == list(range(oldest + DAY, SINCE + 70 * DAY + 1, DAY))
    assert outbox.through == SINCE + 70 * DAY


def test_the_page_of_an_earlier_version_is_taken_up_beside_what_the_meter_lived() -> None:
    store = MemoryNv()
    older = ["closed", NOW + HOUR, True, 7_000]
    store.write({PAGE: msgspec.msgpack.encode([SINCE + DAY, [], older])})
    chip, _ = Platform().module(GAS, b"M" + GAS[1:], 2)
    for _ in range(2):  # the second start finds the meter's own page
        gas = GasMeter(GAS, state=born(DESIGNS["gas"], SINCE, (4_711,)))
        outbox = DailyOutbox(gas, chip, store)
        assert (gas.state.valve, gas.state.permit_until, gas.clock(NOW)) == (
            "closed",
            NOW + HOUR,
            NOW + 7_000,
        )
        assert gas.readings.register(1, NOW) == 4_711
        assert outbox.through == SINCE + DAY
        outbox.save()
