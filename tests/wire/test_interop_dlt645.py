"""DL/T 645 with code that nobody here wrote: the package `dlt645`, client and server, over TCP.

Its client asks our simulated meter, our master role asks its server. Where the package differs from the standard's text or
from captured frames the test says so, and ADR 0023 lists it.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from dlt645 import Demand, MeterClientService, MeterServerService, TcpClient
from dlt645.model.data.define import DIMap
from msgspec.structs import replace

from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.line import Line
from meterseal.edge.meter import MeterState
from meterseal.edge.node import Node
from meterseal.edge.poll import Pace, Riser
from meterseal.kit.bus import Bus, BusServer
from meterseal.wire import roles
from meterseal.wire.asked import Ask, Credentials
from meterseal.wire.codec import Reader
from meterseal.wire.decode import decode_bytes
from meterseal.wire.dlt645 import table
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import profiles
from meterseal.wire.sheet import Value

DEVICE = bytes.fromhex("d700003100000004")
AS_SENT = DEVICE[:1:-1].hex()
"""The package takes an address in the order of the bytes on the line, not as it is printed on the meter."""
PROFILE = profiles()["electricity-generic"]
HOUR = 3_600_000
NOW = 1_794_000_000_000
GUARD = Credentials(2, b"\x11\x22\x33", b"\x01\x02\x03\x04")


# --- our master, its server --------------------------------------------------------------------------------------


class Master:
    """Our master role on a socket."""

    def __init__(self, port: int) -> None:
        self.line = socket.create_connection(("127.0.0.1", port), 10)
        self.reader = Reader("dlt645")

    def ask(self, ask: Ask, device: bytes = DEVICE) -> Frame:
        request = roles.request(device, ask, PROFILE)
        self.line.sendall(b"\xfe" * 4 + request.encode())
        answer = self.hear()
        assert roles.matches(request, answer, PROFILE).answers
        return answer

    def hear(self) -> Frame:
        while (frame := self.reader.next_frame()) is None:
            heard = self.line.recv(1024)
            assert heard, "the server hung up"
            self.reader.feed(heard)
        return frame

    def read(self, di: int) -> dict[str, Value]:
        answer = self.ask(Ask(kind="read", di=di))
        said = decode_bytes(answer.encode()).answer
        assert said["anomalies"] == [], said["anomalies"]
        return interpret(answer).readings


@pytest.fixture(scope="module")
def server() -> Iterator[MeterServerService]:
    served = MeterServerService.new_tcp_server("127.0.0.1", 0, 10)
    assert served.start()
    yield served
    served.stop()


@pytest.fixture
def master(server: MeterServerService) -> Iterator[Master]:
    server.set_address(AS_SENT)
    server.set_password("02112233")
    connected = Master(server.server.port)
    yield connected
    connected.line.close()


def groups(first: int) -> list[int]:
    """The package's identifiers of a group, the totals alone where there are thousands."""
    found = [di for di in DIMap if di >> 24 == first]
    return [di for di in found if not di & 0xFFFF] if first in (0, 1) else found


def test_every_energy_of_its_server_is_read_as_it_was_set(server: MeterServerService, master: Master) -> None:
    dice = random.Random(0)
    for di in groups(0):
        quantity = table.lookup(di)
        assert quantity is not None
        (item,) = quantity.items
        hundredths = dice.randrange(-79_999_999 if item.signed else 0, 80_000_000)
        assert server.set_00(di, hundredths / 100)
        (value,) = master.read(di).values()
        assert (value.register, value.exponent, value.unit) == (hundredths, -2, item.unit), f"{di:08X}"


def test_every_demand_of_its_server_is_read_with_its_time(server: MeterServerService, master: Master) -> None:
    dice = random.Random(1)
    for di in groups(1):
        units, at = dice.randrange(700_000), datetime(2024, 5, dice.randrange(1, 31), 13, 45)
        assert server.set_01(di, Demand(units / 10_000, at))
        value, time = master.read(di).values()
        assert (value.register, value.exponent) == (units, -4), f"{di:08X}"
        assert time.text == at.strftime("%Y-%m-%dT%H:%M")


def test_every_variable_of_its_server_is_read_as_it_was_set(
    server: MeterServerService, master: Master
) -> None:
    dice = random.Random(2)
    for di in groups(2):
        quantity = table.lookup(di)
        assert quantity is not None
        (item,) = quantity.items
        most = round(DIMap[di].max_value * 10**-item.exponent)  # a power factor of 1 is none for the package
        digits = dice.randrange(-most if item.signed else 0, most + 1)
        assert server.set_02(di, digits * 10**item.exponent)
        (value,) = master.read(di).values()
        assert (value.register, value.exponent) == (digits, item.exponent), f"{di:08X}"


def test_every_parameter_of_its_server_is_read_as_it_was_set(
    server: MeterServerService, master: Master
) -> None:
    dice = random.Random(4)
    for di in groups(4):
        known, quantity = DIMap[di], table.lookup(di)
        assert quantity is not None
        if isinstance(known, list) or quantity.items[0].kind == "bytes" or "." in known.data_format:
            continue  # tables, passwords, and 16 numbers with a point, which its server cannot put into BCD
        item = quantity.items[0]
        digits = "".join(dice.choices("0123456789", k=2 * item.size))
        if item.kind == "ascii":
            digits = "".join(f"{ord(char):02x}" for char in dice.choices("0123456789", k=item.size))
        assert server.set_04(di, digits)
        value = master.read(di)[item.name]
        if item.kind == "number":
            assert value.register == int(digits), f"{di:08X}"
        elif item.kind == "ascii":
            assert value.text == bytes.fromhex(digits).decode(), f"{di:08X}"
        else:
            shown = "".join(char for char in value.text or "" if char.isdecimal())
            assert shown in (digits, f"20{digits}", f"20{digits[:-2]}"), f"{di:08X}"


def test_event_counters_and_times_of_its_server_are_read(server: MeterServerService, master: Master) -> None:
    readings = master.read(0x03010000)
    assert list(readings)[:2] == ["voltage_loss_a_count", "voltage_loss_a_duration"]
    assert [value.register for value in readings.values()] == [0] * 6
    assert master.read(0x03110000)["power_failures"].register == 0
    assert server.set_03(0x03110001, ["240511220131", "240511230000"])
    times = [value.text for value in master.read(0x03110001).values()]
    assert times == ["2024-05-11T22:01:31", "2024-05-11T23:00:00"]


def test_the_package_sends_a_byte_too_many_for_each_event_value_with_a_point(master: Master) -> None:
    """It fills such a value with as many zeros as its format has characters, the point included."""
    answer = interpret(master.ask(Ask(kind="read", di=0x03010101)))
    assert len(answer.readings) == 37
    assert answer.anomalies == ("tail: 35 bytes follow the known layout",)


def test_its_server_says_why_it_answers_nothing(master: Master) -> None:
    for di, reason in (
        (0x0001FF00, "no such data"),
        (0x05060101, "other error"),
        (0x00900100, "no such data"),
    ):
        answer = interpret(master.ask(Ask(kind="read", di=di)))
        assert answer.error, f"{di:08X}"
        assert answer.error_reasons[0].startswith(reason)
    assert interpret(master.ask(Ask(kind="follow-up", di=0x00010000, number=1))).error


def test_a_parameter_is_written_with_the_right_password_only(
    server: MeterServerService, master: Master
) -> None:
    ask = Ask(kind="write", di=0x04000B01, credentials=GUARD, values={"settlement_day_1": "2500"})
    assert not interpret(master.ask(ask)).error
    assert master.read(0x04000B01)["settlement_day_1"].text == "2500"
    wrong = replace(ask, credentials=replace(GUARD, password=b"\x99\x99\x99"))
    refused = interpret(master.ask(wrong))
    assert refused.error_reasons[0].startswith("wrong password")
    unknown = interpret(master.ask(replace(ask, di=0x04001003, values={"overdraft_amount_limit": 1})))
    assert unknown.error_reasons[0].startswith("no such data")


def test_addresses_are_asked_with_the_wildcard_and_written(
    server: MeterServerService, master: Master
) -> None:
    anybody = b"\xd7\x00" + b"\xaa" * 6
    assert master.ask(Ask(kind="read-address"), anybody).device_id == DEVICE
    assert not interpret(master.ask(Ask(kind="write-address", values={"new_address": "003100000005"}))).error
    answer = master.ask(Ask(kind="read-address"), anybody)
    assert interpret(answer).anomalies == ()
    assert answer.device_id == DEVICE[:-1] + b"\x05"


def test_a_new_password_is_told_back(server: MeterServerService, master: Master) -> None:
    ask = Ask(kind="password", di=0x04000C03, credentials=GUARD, payload=b"\x02\x44\x55\x66")
    assert master.ask(ask).data == b"\x02\x44\x55\x66"
    server.set_password("02112233")


def test_events_are_cleared_and_a_freeze_is_taken(master: Master) -> None:
    assert not interpret(master.ask(Ask(kind="clear-events", di=0xFFFFFFFF, credentials=GUARD))).error
    assert not interpret(master.ask(Ask(kind="freeze", values={"freeze_time": "99999999"}))).error


def test_the_package_has_other_rate_bytes_than_the_standard_s_bits(master: Master) -> None:
    """Its 4800, 9600 and 19200 are BCD multiples of 300 (16, 32, 64); the standard sets one bit (10, 20, 40)."""
    for rate, taken in ((1200, True), (2400, True), (4800, False), (9600, False), (19_200, False)):
        answer = master.ask(Ask(kind="baud-rate", values={"baud_rate": rate}))
        assert interpret(answer).error is not taken
        assert taken or interpret(answer).error_reasons[0].startswith("baud rate")


def test_the_package_wants_an_identifier_before_the_password_of_a_clear(master: Master) -> None:
    """The standard's 19 and 1A carry password and operator; the package reads identifier and password there."""
    for kind in ("clear-demand", "clear-meter"):
        assert interpret(master.ask(Ask(kind=kind, credentials=GUARD))).error  # type: ignore[arg-type]


def test_the_package_takes_a_broadcast_time_in_printed_order(
    server: MeterServerService, master: Master
) -> None:
    """The standard's ss mm hh DD MM YY is no time for it, so its clock stays; what it reads is YY MM DD hh mm ss."""
    server.time = None
    request = roles.request(DEVICE, Ask(kind="time", at=NOW, broadcast=True), PROFILE)
    assert request.data[-1] == 0x26
    master.line.sendall(request.encode())
    master.read(0x02010100)  # an answer to something else: the broadcast has none
    assert server.time is None or server.time.year != 2026


def test_the_package_s_client_reads_no_time_of_its_own_server_s_demands(
    server: MeterServerService, master: Master
) -> None:
    """Its server sends mm hh DD MM YY as every capture does, its client reads YY MM DD hh mm."""
    assert server.set_01(0x01010000, Demand(1.5, datetime(2024, 5, 12, 13, 45)))
    client = the_client()
    client.client = TcpClient("127.0.0.1", server.server.port, 20)
    assert client.set_address(AS_SENT)
    assert client.read_01(0x01010000) is None  # month 13
    client.client.disconnect()
    assert master.read(0x01010000)["forward_active_maximum_demand_time"].text == "2024-05-12T13:45"


def test_the_package_has_no_power_factor_of_one(server: MeterServerService) -> None:
    assert not server.set_02(0x02060000, 1.0)
    assert server.set_02(0x02060000, 0.999)


def test_our_bus_master_polls_its_server_as_a_plain_meter(server: MeterServerService, master: Master) -> None:
    assert server.set_00(0x00010000, 1234.56)
    heard: list[tuple[bytes, Frame, int]] = []
    riser = Riser([Line(DEVICE, plain=True)], Pace(), lambda *_: None, lambda *got: heard.append(got))
    request = riser.request(NOW)
    assert request is not None
    master.line.sendall(request)
    assert riser.answer(master.hear().encode(), NOW)
    ((device, frame, _),) = heard
    assert device == DEVICE
    assert interpret(frame).readings["forward_active_energy"].register == 123_456
    assert riser.errors == 0


# --- its client, our meter ---------------------------------------------------------------------------------------


class Counting:
    """A mechanism that counts three hundredths an hour."""

    since, until = NOW - 25 * 24 * HOUR, NOW

    def __init__(self, begin: int = 100_000) -> None:
        self.begin = begin

    def register(self, channel: int, at: int) -> int:
        return self.begin + (at - self.since) // HOUR * 3

    def stored(self, channel: int, end_at: int) -> int | None:
        return self.register(channel, end_at)


class Heard:
    """The requests that reached the bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.requests: list[Frame] = []

    def answer(self, request: Frame, now: int) -> bytes:
        self.requests.append(request)
        return self.bus.answer(request, now)


@cache
def the_client() -> MeterClientService:
    """One for all tests: making one copies the package's 20,000 identifiers."""
    return MeterClientService(TcpClient())


async def with_client(work: Callable[[MeterClientService, ElectricityMeter, list[Frame]], None]) -> None:
    """Our meter on a TCP bus, and the package's client beside it in a thread."""
    meter = ElectricityMeter(DEVICE, Counting(), MeterState(), clear_writes=True)
    heard = Heard(Bus([Node(meter)]))
    serving = BusServer(heard, lambda: NOW)
    port = await serving.start("127.0.0.1", 0)

    def talk() -> None:
        client = the_client()
        client.client = TcpClient("127.0.0.1", port, 20)
        assert client.set_address(AS_SENT)
        try:
            work(client, meter, heard.requests)
        finally:
            client.client.disconnect()

    try:
        await asyncio.to_thread(talk)
    finally:
        await serving.stop()


def ours(meter: ElectricityMeter, di: int) -> dict[str, Value]:
    """What our own decoder reads from the meter's answer."""
    request = roles.request(DEVICE, Ask(kind="read", di=di), PROFILE)
    answer = meter.handle(request, NOW, clear=True)
    assert answer is not None
    return interpret(answer).readings


async def test_its_client_reads_what_our_meter_shows() -> None:
    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        for read, identifiers in (
            (client.read_00, (0x00000000, 0x00010000, 0x00020000)),
            (client.read_02, (0x02010100, 0x02020100, 0x02030000, 0x02060000, 0x02800002, 0x02800007)),
        ):
            for di in identifiers:
                (value,) = ours(meter, di).values()
                assert value.value is not None
                assert read(di).value == pytest.approx(float(value.value), abs=1e-9), f"{di:08X}"
        assert client.read_00(0x00010000).value == Counting().register(1, NOW) / 100
        for di, name in (
            (0x04000102, "time"),
            (0x04000401, "address"),
            (0x04000402, "meter_number"),
            (0x04000501, "status_word_1"),
        ):
            text = ours(meter, di)[name].text
            assert text is not None
            assert client.read_04(di).value == text.replace(":", "")
        date = ours(meter, 0x04000101)
        wanted = f"{date['date'].text}{date['weekday'].text:>02}".replace("-", "")[2:]
        assert client.read_04(0x04000101).value == wanted
        assert [item.value for item in client.read_03(0x03110000)] == ["000000"]
        assert all(request.control == 0x11 for request in heard)

    await with_client(work)


async def test_the_package_takes_the_highest_digit_of_every_energy_for_a_sign() -> None:
    """Registers count to 999999.99 in captured frames; from 800000.00 on the package reads a negative energy."""

    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        meter.readings = Counting(80_000_012 - 1800)
        assert ours(meter, 0x00010000)["forward_active_energy"].register == 80_000_012
        assert client.read_00(0x00010000).value == -0.12

    await with_client(work)


async def test_its_client_hears_no_value_for_what_our_meter_has_not() -> None:
    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        refused = meter.handle(
            roles.request(DEVICE, Ask(kind="read", di=0x00150000), PROFILE), NOW, clear=True
        )
        assert refused is not None
        assert refused.data == b"\x02"
        assert client.read_00(0x00150000) is None

    await with_client(work)


async def test_its_client_finds_the_address_and_gives_another() -> None:
    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        client.set_address("00" * 6)
        assert client.read_address().value == AS_SENT
        assert client.write_address("050000003100").value == "050000003100"
        assert meter.device_id == DEVICE[:-1] + b"\x05"
        assert client.read_00(0x00010000).value == Counting().register(1, NOW) / 100

    await with_client(work)


async def test_its_client_sets_the_clock_by_a_write_and_freezes() -> None:
    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        before = ours(meter, 0x04000102)["time"].text
        client.write_04(0x04000102, "101500", "02000000")  # its return value is None for success as well
        after = ours(meter, 0x04000102)["time"].text
        assert (before, after) != (after, before)
        assert after == "10:15:00"
        assert client.freeze(99, 99, 99, 99) is not None
        assert [request.control for request in heard] == [0x14, 0x16]

    await with_client(work)


async def test_what_the_client_sends_otherwise_than_the_standard_changes_nothing_here() -> None:
    """Times in printed order, clears with an identifier, rate bytes in BCD, passwords under 40000Cnn (ADR 0023)."""

    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        before = meter.state
        assert client.broadcast_time_sync(datetime(2026, 11, 6, 10, 30, 0))
        assert client.freeze(11, 6, 10, 0) is None
        assert client.change_baud_rate(9600) is None
        assert client.clear_demand(0x01010000, "02000000") is None
        assert client.clear_meter("02000000") is None
        assert client.change_password("02000000", "02112233") is None
        assert meter.state == before
        sent: list[Any] = [(request.control, request.data.hex()) for request in heard]
        assert sent == [
            (0x08, "261106103000"),
            (0x16, "11061000"),
            (0x17, "32"),
            (0x19, "0000010102000000"),
            (0x1A, "0000000002000000"),
            (0x18, "020c00400200000002112233"),
        ]
        assert heard[0].address == b"\x99" * 6

    await with_client(work)


async def test_nothing_is_written_in_clear_to_a_meter_that_is_no_bench_s() -> None:
    def work(client: MeterClientService, meter: ElectricityMeter, heard: list[Frame]) -> None:
        meter.clear_writes = False
        before = meter.state
        client.write_04(0x04000102, "101500", "02000000")
        assert client.clear_event("02000000") is None
        assert client.write_address("050000003100") is None
        assert meter.state == before

    await with_client(work)
