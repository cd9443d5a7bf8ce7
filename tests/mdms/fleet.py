"""A small fleet whose registers are a pure function of meter and time, and the batches that would carry
them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import meters, premises, usage_points
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey, verify
from meterseal.link.evidence import GENESIS, EvidenceStatement, chain, signed_bytes
from meterseal.mdms.reading import Limits
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.journal import Noted
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch, Evidence, Medium, Opened, Series, Status
from tests.control_store import control_at

HOUR = 3_600_000
DAY = 24 * HOUR
FIRST = 1_793_462_400_000  # 2026-11-01 00:00 in Shanghai
MEDIA: tuple[Medium, ...] = ("water", "gas", "heat", "electricity")
UNITS = {"water": "m3", "gas": "m3", "heat": "kWh", "electricity": "kWh"}
KEY = Sm2PrivateKey.from_scalar(bytes(range(1, 33)))  # the same in every process of a test


def keys(version: int = 1) -> KeyRing:
    return KeyRing({version: SymmetricKey.from_bytes(bytes(range(16)), "data key")}, version)


class Page:
    """What is noted of a journal's files, in memory."""

    def __init__(self, noted: Noted | None = None) -> None:
        self.noted = noted
        self.given: list[tuple[int, int]] = []
        self.every: list[Noted] = []

    def note(self, noted: Noted) -> None:
        self.noted = noted
        self.every.append(noted)


def device(number: int) -> bytes:
    return bytes([0x10]) + number.to_bytes(7)


def point(number: int) -> str:
    return f"up-{number:08d}"


def medium(number: int) -> Medium:
    return MEDIA[number % 4]


def install(engine: sa.Engine, count: int, since: int = FIRST) -> None:
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="pr-1"))
        for number in range(count):
            connection.execute(
                usage_points.insert().values(id=point(number), premises_id="pr-1", medium=medium(number))
            )
            connection.execute(
                meters.insert().values(
                    device_id=device(number),
                    usage_point_id=point(number),
                    protocol="cjt188",
                    since=since,
                    plain=False,
                )
            )


def register(number: int, at: int) -> int:
    """Rises by 5 to 60 an hour, never twice alike."""
    hours = (at - FIRST) // HOUR
    return 1000 * number + 20 * hours + (number * 7919 + hours * 104_729) % 15


def day_series(number: int, day: int) -> tuple[Series, ...]:
    """Two blocks as a CJ/T 188 meter sends them, 20 readings and 4."""
    start = FIRST + day * DAY + HOUR
    return tuple(
        Series(
            device_id=device(number),
            channel=MAIN,
            unit=UNITS[medium(number)],
            exponent=-2,
            start_at=start + first * HOUR,
            step=HOUR,
            registers=tuple(register(number, start + k * HOUR) for k in range(first, last)),
        )
        for first, last in ((0, 20), (20, 24))
    )


def day_record(number: int, day: int, counter: int, *, session: int = 1) -> Opened:
    end = FIRST + (day + 1) * DAY
    return Opened(
        session_id=bytes([session]) * 4 + number.to_bytes(4),
        counter=counter,
        device_id=device(number),
        module_id=bytes(8),
        suite=1,
        origin="sealed",
        received_at=end + 5_000,
        digest=bytes(32),
        series=day_series(number, day),
        statuses=(Status(device(number), end, "open", False, "0000"),),
    )


class Chains:
    """What the modules know: head and sequence of each meter's chain."""

    def __init__(self) -> None:
        self.heads: dict[int, bytes] = {}

    def evidence(self, number: int, day: int) -> Evidence:
        times = range(FIRST + day * DAY + HOUR, FIRST + (day + 1) * DAY + 1, HOUR)
        head = chain(self.heads.get(number, GENESIS), MAIN, [(at, register(number, at)) for at in times])
        self.heads[number] = head
        end = FIRST + (day + 1) * DAY
        statement = EvidenceStatement(
            device(number), MAIN, end, register(number, end), -2, 0x2C, 0, day + 1, head
        ).pack()
        return Evidence(device(number), statement, KEY.sign(signed_bytes(statement)))


def evidence_record(
    evidence: Evidence, number: int, counter: int, received_at: int, *, session: int = 1
) -> Opened:
    return Opened(
        session_id=bytes([session]) * 4 + number.to_bytes(4),
        counter=counter,
        device_id=device(number),
        module_id=bytes(8),
        suite=1,
        origin="sealed",
        received_at=received_at,
        digest=bytes(32),
        evidence=(evidence,),
    )


def days(count: int, days_: int) -> Iterator[list[Opened]]:
    """Day by day, the records of all meters: load profile, then evidence."""
    chains = Chains()
    for day in range(days_):
        records = []
        for number in range(count):
            records.append(day_record(number, day, 2 * day + 1))
            records.append(
                evidence_record(
                    chains.evidence(number, day), number, 2 * day + 2, FIRST + (day + 1) * DAY + 6_000
                )
            )
        yield records


def batches(records: list[Opened], size: int) -> list[Batch]:
    return [Batch(tuple(records[start : start + size])) for start in range(0, len(records), size)]


def shuffled(records: list[Opened], seed: int) -> list[Opened]:
    random.Random(seed).shuffle(records)
    return records


def open_store(root: Path, meters_: int = 0, limits: Limits | None = None) -> tuple[Mdms, sa.Engine]:
    engine = control_at(root / "control.db")
    if meters_:
        install(engine, meters_)
    verifier = each(
        lambda _, statement, signature, __: verify(KEY.public_point, signed_bytes(statement), signature)
    )
    return Mdms.open(root / "measurements", engine, keys(), verifier, limits), engine
