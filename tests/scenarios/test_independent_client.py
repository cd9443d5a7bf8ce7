"""From credentials to bill over the plain port, with a client that shares no code with the platform."""

import contextlib
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import here

from .independent_client import (
    CUBIC_METRES,
    EVIDENCE,
    KILOWATT_HOURS,
    LOCAL,
    REKEY,
    Command,
    Device,
    Link,
    Numbered,
    bcd,
    clock,
    interval_block,
)

HOUR = timedelta(hours=1)
CHANNEL = 1  # the meter's main register
DOES_NOT_DECODE = 1  # a class of REJECT


class System:
    """A running system of its own, and its command line, which runs in this process."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.errors = (data.parent / "up.log").open("w")
        command = [sys.executable, "-m", "meterseal", "up", "--data", str(data), "--lab", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        assert self.process.stdout is not None
        self.tcp = json.loads(self.process.stdout.readline())["headend"]["tcp"]

    def run(self, *arguments: str) -> Any:
        return here(*arguments, "--data", self.data, "--json").document

    def status_when(self, expected: dict[str, int]) -> None:
        """The counts follow the acknowledgement of a record within moments, not at once."""
        until = time.monotonic() + 20
        found: dict[str, int] = {}
        while found != expected and time.monotonic() < until:
            time.sleep(0.05)
            status = self.run("status")
            found = {key: status[key] for key in expected}
        assert found == expected
        assert status["audit_ok"]

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.errors.close()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "system")
    try:
        yield system
    finally:
        assert system.stop() == 0


def month_starts(count: int) -> list[datetime]:
    """The first instants of the last `count` local months, this one's included."""
    first = datetime.now(LOCAL).replace(day=1, hour=0, minute=0, second=0, microsecond=0)  # noqa: TID251
    starts = [first]
    while len(starts) < count:
        starts.insert(0, (starts[0] - timedelta(days=1)).replace(day=1))
    return starts


def silent(link: Link, seconds: float = 1.0) -> bool:
    """Whether the platform says nothing for a while; closing the connection says nothing either."""
    link.socket.settimeout(seconds)
    try:
        return link.socket.recv(1) == b""
    except TimeoutError:
        return True
    finally:
        with contextlib.suppress(OSError):
            link.socket.settimeout(10)


@pytest.mark.parametrize(
    ("medium", "suite", "assurance", "most"),
    [("water", 1, "meter-signed", 80), ("electricity", 2, "platform-attested", 70)],
)
def test_from_credentials_to_bill(system: System, medium: str, suite: int, assurance: str, most: int) -> None:
    issued = system.run("device", "issue", "--lab", "--medium", medium, "--suite", str(suite))
    device = Device(issued)
    unit = KILOWATT_HOURS if device.electric else CUBIC_METRES
    interval_di, register_di = (0xE0010000, 0x00010000) if device.electric else (0xE001, 0x901F)
    per_block = 43 if device.electric else 20
    starts = month_starts(3)
    hours = int((starts[2] - starts[0]) / HOUR) + 1  # both ends: the first and the last boundary
    rng = random.Random(suite)
    registers = [1_000_000]
    while len(registers) < hours:
        registers.append(registers[-1] + rng.randrange(most))
    at_month = {start: registers[int((start - starts[0]) / HOUR)] for start in starts}

    with contextlib.closing(Link(system.tcp, device)) as link:
        link.connect()  # repeats its HELLO and wants the same PLATFORM
        now = time.time()  # noqa: TID251
        assert abs(link.platform_time / 1000 - now) < 10
        assert abs(link.ping() / 1000 - now) < 10

        records = []
        for first in range(0, hours, 24):
            day = registers[first : first + 24]
            start = starts[0] + first * HOUR
            blocks = [
                interval_block(start + at * HOUR, 60, CHANNEL, unit, day[at : at + per_block])
                for at in range(0, len(day), per_block)
            ]
            records.append(link.reports(*((interval_di, block) for block in blocks)))
            for at, register in enumerate(day):
                device.extend_chain(CHANNEL, start + at * HOUR, register)
                if start + at * HOUR in at_month:
                    statement = device.evidence(CHANNEL, start + at * HOUR, register, unit)
                    records.append(link.control(EVIDENCE, statement))
        report = bcd(registers[-1], 4)
        if not device.electric:
            settled = bcd(at_month[starts[2]], 4)
            report += bytes([unit]) + settled + bytes([unit]) + clock(datetime.now(LOCAL)) + b"\0\0"  # noqa: TID251
        records.append(link.reports((register_di, report)))
        link.deliver(records)
        assert sorted(link.acks) == [number for number, _ in records]
        assert not link.rejects
        counted = {
            "sessions": 1,
            "records": len(records),
            "readings": hours + 1,
            "evidence": 3,
            "evidence_good": 3,
            "quarantined": 0,
            "refused": 0,
        }
        system.status_when(counted)

        # The same record again: acknowledged again, counted once.
        before = len(link.acks)
        link.transmit(records[0])
        link.deliver([])
        assert link.acks[before:] == [records[0][0]]
        system.status_when({**counted, "refused": 1})

        # A changed bit: no answer and no effect, so the right record is taken afterwards under the same counter.
        number, record = link.reports(
            (interval_di, interval_block(starts[2], 60, CHANNEL, unit, [registers[-1]]))
        )
        link.send(record[:-1] + bytes([record[-1] ^ 1]))
        assert silent(link)
        system.status_when({**counted, "refused": 2})
        audit = system.run("audit")
        found = sorted((entry["code"], entry["counter"], entry["device_id"]) for entry in audit["entries"])
        assert found == [
            ("link.replay", records[0][0], issued["device_id"]),
            ("link.tag", number, issued["device_id"]),
        ]

    with contextlib.closing(Link(system.tcp, device)) as again:  # a session outlives its connection
        link.socket = again.socket
        link.deliver([(number, record)])
        assert link.acks[-1] == number
        system.status_when({**counted, "records": len(records) + 1, "refused": 2})
        assert system.run("audit")["verified"] > 0

        # A good tag around a channel that no meter has: rejected by name each time, and no other record is held up by it.
        odd = link.reports((interval_di, interval_block(starts[2], 60, 9, unit, [1])))
        for _ in range(2):
            link.rejects.clear()
            link.transmit(odd)
            while not link.rejects:
                link.take()
            assert link.rejects == {odd[0]: DOES_NOT_DECODE}
        link.rejects.clear()
        link.deliver([link.reports((register_di, report))])

        # The device says that it wants new keys, and makes a new handshake on the same connection.
        before_rekey, keys = link.session_id, link.up
        link.send(link.control(REKEY)[1])
        link.connect()
        assert link.session_id != before_rekey
        assert link.up.tag(b"") != keys.tag(b"")
        assert abs(link.ping() / 1000 - time.time()) < 10  # noqa: TID251
        assert list(link.times) == [link.counter]
        link.deliver([link.reports((register_di, report))])

    # Bills
    run = system.run("bill", "run")
    assert (len(run["issued"]), run["held"]) == (2, [])
    bills = {bill["since"]: bill for bill in system.run("bill", "list", "--meter", issued["device_id"])}
    assert len(bills) == 2
    for since, until in itertools.pairwise(starts):
        listed = bills[int(since.timestamp()) * 1000]
        bill = system.run("bill", "show", listed["bill_id"])
        used = Decimal(at_month[until] - at_month[since]).scaleb(-2)
        assert Decimal(listed["used"]) == Decimal(bill["used"]) == used
        assert bill["until"] == int(until.timestamp()) * 1000
        assert bill["total_fen"] == listed["total_fen"] > 0
        assert listed["assurance"] == bill["use_assurance"] == assurance
        assert listed["signed_fen"] == (bill["total_fen"] if suite == 1 else 0)
        charges = [line["charge"] for line in bill["lines"]]
        assert len(charges) > 1 or since != starts[0]
        for line, charge in zip(bill["lines"], charges, strict=True):
            amount = Decimal(charge["quantity"]) * Decimal(charge["price"]) * 100
            assert charge["amount_fen"] == int(amount.quantize(Decimal(1), ROUND_HALF_UP))
            assert line["assurance"] == assurance
        assert sum(Decimal(charge["quantity"]) for charge in charges) == used
        assert sum(charge["amount_fen"] for charge in charges) == bill["total_fen"]
        for name, boundary in (("first", since), ("last", until)):
            evidence = bill["determinants"][0]["readings"][name]["evidence"]
            assert evidence["checked"] == ("signed" if suite == 1 else "mac")
            assert (evidence["register"], evidence["exponent"]) == (at_month[boundary], -2)
            assert evidence["sequence"] == starts.index(boundary) + 1


# --- words down ---------------------------------------------------------------------------------------------


class Desk:
    """Two founding officers of a system, who command its meters together."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        phrase = folder / "phrase"
        self.keys = [word for name in ("an", "bo") for word in ("--officer", str(folder / f"{name}.key"))]
        phrase.write_text("what an and bo remember")
        phrase.chmod(0o600)
        self.phrase = ("--passphrase-file", str(phrase))
        for name, roles in (("an", ("enrol", "command")), ("bo", ("enrol", "command"))):
            said = [word for role in roles for word in ("--role", role)]
            command = ["keys", "officer", "new", name, *said, "--to", str(folder), *self.phrase]
            subprocess.run([sys.executable, "-m", "meterseal", *command], check=True, timeout=60)
        system.run("keys", "officer", "add", str(folder / "an.card"), str(folder / "bo.card"))

    def command(self, device: Device, *act: str) -> dict[str, Any]:
        found: dict[str, Any] = self.system.run(
            "device", "command", device.device_id.hex(), *act, *self.keys, *self.phrase
        )
        assert found["state"] == "waiting"
        return found

    def ended(self, device: Device) -> list[tuple[int, str]]:
        """Number and end of every word to a meter, oldest first, once the platform took its answers."""
        until = time.monotonic() + 20
        while True:
            listed = self.system.run("device", "words", "--meter", device.device_id.hex())["words"]
            if all(word["state"] not in ("waiting", "sent") for word in listed) or time.monotonic() > until:
                return [(word["number"], word["state"]) for word in reversed(listed)]
            time.sleep(0.05)


def commanded(link: Link, many: int) -> Command:
    """Be heard, and take what comes until so many commands were opened."""
    link.ping()
    while len(link.commands) < many:
        link.take()
    return link.commands[-1]


def done(link: Link, command: Command) -> Numbered:
    """What a meter answers that did what it was told (CJ/T 188: C = 84 with its state; DL/T 645: 9C without data)."""
    control, data = link.device.parts(command.frame)
    return link.answer(control | 0x80, b"" if link.device.electric else data[:3] + b"\0\0")


COMMANDED = (
    ("water", 1, (("valve", "close"), ("valve", "open")), (b"\x99", b"\x55")),
    ("electricity", 2, (("relay", "trip"), ("relay", "permit")), (b"\x1a", b"\x1b")),
)


def carry_out(desk: Desk, link: Link, number: int, act: tuple[str, ...], value: bytes) -> None:
    """One command through every check of the client, to its answer."""
    device = link.device
    word = desk.command(device, *act)
    command = commanded(link, number)
    now = int(time.time() * 1000)  # noqa: TID251
    control, data = device.parts(command.frame)
    at = 8 if device.electric else 3  # after password and operator, or identifier and SER
    assert command.number == word["number"] == number
    assert command.not_after == word["not_after"] > now
    assert data[at : at + 1] == value

    # What is refused leaves the way free for the right one.
    kept, other = device.last_command, device.frame(b"\0" + data, control)
    turned = bytes([command.authorisation[0] ^ 1]) + command.authorisation[1:]
    for forged in (
        command._replace(authorisation=turned),
        command._replace(number=number + 1),
        command._replace(not_after=command.not_after + 1),
        command._replace(frame=other),
    ):
        with pytest.raises(ValueError, match="authorisation"):
            device.judge(forged, now)
    with pytest.raises(ValueError, match="too late"):
        device.judge(command, command.not_after)
    assert device.last_command == kept
    assert device.judge(command, now)
    link.deliver([done(link, command)])
    assert not link.rejects

    # The same one again is the stored answer's; any other under that number, or an earlier one, is refused.
    assert not device.judge(command, now)
    for past in {number, 1}:
        proof = device.authorisation(past, command.not_after, other)
        with pytest.raises(ValueError, match="number rises"):
            device.judge(Command(past, command.not_after, proof, other), now)


def test_an_officers_commands_and_a_new_key_reach_a_client_that_has_only_the_page(
    system: System, tmp_path: Path
) -> None:
    """Guarded commands in both suites, and KEY as far as LINK lets a client go that lacks K_r.

    K_r stays in module and security service (HM 8.5.4.e), so what `device issue --lab` hands out has none: this client
    sees that KEY has its form and a newer version, and can neither check its mac nor open the key. It goes on under
    its slot, which serves until the first handshake with the new one.
    """
    desk = Desk(system, tmp_path)
    with contextlib.ExitStack() as stack:
        links = []
        for medium, suite, acts, told in COMMANDED:
            device = Device(system.run("device", "issue", "--lab", "--medium", medium, "--suite", str(suite)))
            links.append(link := stack.enter_context(contextlib.closing(Link(system.tcp, device))))
            link.connect()
            for number, (act, value) in enumerate(zip(acts, told, strict=True), 1):
                carry_out(desk, link, number, act, value)
            assert desk.ended(device) == [(1, "done"), (2, "done")]

        assert system.run("keys", "rotate", "diak") == {"kind": "diak", "version": 2}
        system.run("device", "rollout")
        for link in links:
            link.ping()
            while not link.keys:
                link.take()
            assert {key[0] for key in link.keys} == {link.device.key_version + 1}
            session = link.session_id
            link.connect()
            assert link.session_id != session
