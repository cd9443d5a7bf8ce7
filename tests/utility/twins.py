"""Memory twins of the utility's ports, and a usage point whose registers a test writes by hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import TrustError
from meterseal.model import MAIN, Medium, Quality
from meterseal.utility.calendar import HOUR, ZONE, midnight
from meterseal.utility.tariff import UNITS

DEVICE = bytes.fromhex("1078330000000001")


def at(text: str) -> int:
    """Local wall clock time as Unix milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()) * 1000


def day(text: str) -> int:
    """The local midnight that begins a day."""
    return midnight(date.fromisoformat(text))


@dataclass(frozen=True, eq=False)
class Columns:
    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    quality: NDArray[np.int8]
    origin: NDArray[np.int8]
    exponent: int
    unit: str
    uncertainty: tuple[int | None, ...]


@dataclass(frozen=True)
class Facts:
    end_at: int
    register: int
    suite: int = 1
    checked: str = "signed"
    device_id: bytes = DEVICE
    exponent: int = -2
    sequence: int = 1
    reason: str = ""
    statement: bytes = b"\x01" * 65
    signature: bytes = b"\x02" * 64


@dataclass
class Channel:
    """Registers of one usage point by end_at, and what is known of them."""

    medium: Medium = "water"
    registers: dict[int, int] = field(default_factory=dict)
    quality: dict[int, Quality] = field(default_factory=dict)
    half: dict[int, int] = field(default_factory=dict)
    vouched: bool = False
    evidence: dict[int, Facts] = field(default_factory=dict)
    unit: str | None = None

    def count(self, since: int, steps: list[int], register: int = 0) -> int:
        """Write hourly registers from `since` on; return the instant of the last one."""
        self.registers[since] = register % 10**8
        for step in steps:
            since += HOUR
            register += step
            self.registers[since] = register % 10**8
        return since

    def sign(self, *instants: int, **facts: object) -> None:
        for instant in instants:
            self.evidence[instant] = Facts(instant, self.registers[instant], **facts)

    def sign_days(self, **facts: object) -> None:
        self.sign(*[end for end in self.registers if (end + 8 * HOUR) % (24 * HOUR) == 0], **facts)

    def columns(self, since: int, until: int) -> Columns:
        ends = sorted(end for end in self.registers if since <= end <= until)
        return Columns(
            np.array(ends, dtype=np.int64),
            np.array([self.registers[end] for end in ends], dtype=np.int64),
            np.array([self.quality.get(end, Quality.MEASURED) for end in ends], dtype=np.int8),
            np.full(len(ends), int(self.vouched), dtype=np.int8),
            -2,
            self.unit or UNITS[self.medium],
            tuple(self.half.get(end) for end in ends),
        )


class MemoryMeasurements:
    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.exports: dict[str, Channel] = {}
        """What was fed in, where a test has it."""

    def _of(self, usage_point: str, channel: int) -> Channel:
        fed = Channel("electricity")
        return self.channels[usage_point] if channel == MAIN else self.exports.get(usage_point, fed)

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> Columns:
        return self._of(usage_point, channel).columns(since, until)

    def evidence_between(self, usage_point: str, channel: int, since: int, until: int) -> list[Facts]:
        found = self._of(usage_point, channel).evidence.items()
        return [facts for end_at, facts in sorted(found) if since <= end_at <= until]

    def standing(self, now: int) -> MemoryMeasurements:
        return copy.deepcopy(self)


class MemoryKeys:
    """Wraps each data key under one key of its own, bound to purpose, id and the wrapping version it names."""

    def __init__(self) -> None:
        self._wrapping = SymmetricKey.generate("wrapping key of the test")
        self.opened = 0
        self.version = 1
        self._made: dict[bytes, SymmetricKey] = {}

    async def new(self, purpose: str, key_id: str) -> tuple[SymmetricKey, bytes, int]:
        sealed = self._wrapping.gcm_seal(b"", f"{purpose}|{key_id}|{self.version}".encode())
        wrapped = self.version.to_bytes(2) + sealed
        self._made[wrapped] = SymmetricKey.generate(f"{purpose} key of {key_id}")
        return self._made[wrapped], wrapped, self.version

    async def open(self, purpose: str, key_id: str, version: int, wrapped: bytes) -> SymmetricKey:
        self._wrapping.gcm_open(wrapped[2:], f"{purpose}|{key_id}|{version}".encode())
        self.opened += 1
        if wrapped not in self._made:
            raise TrustError("keys.unknown", "This key was never made.")
        return self._made[wrapped]


def amount(text: str) -> Decimal:
    return Decimal(text)
