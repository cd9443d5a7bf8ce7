"""Beside the path: frames of both protocols read and built, one by one and by the column, beside the package dlt645.

The package reads the same DL/T 645 frames in the same run where it is installed (extra `test`); where it is not, the
names of the rows say so. The bound is the same frames summed, which no codec can leave out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
from msgspec import Struct

from meterseal.errors import EngineError
from meterseal.kit.bench.timing import Case, Limit, Primitive, Watch
from meterseal.wire.columns import (
    EnergyAnswer,
    IntervalBlock,
    RegisterAnswer,
    Stack,
    energies,
    energy_frames,
    interval_frames,
    intervals,
    one_energy,
    one_energy_frame,
    one_interval_block,
    one_interval_frame,
    one_register_answer,
    one_register_frame,
    register_frames,
    registers,
    stack,
)

UNIT = "frames per CPU second"
COLUMN = 4096
"""Frames of a column."""
ALONE = 400
"""Frames read one by one in a slice."""
HOURS = 20
BEGIN = 1_780_000_000_000
FORWARD = 0x00010000
UNSIGNED = 80_000_000
"""From here on the package takes the highest bit of a forward energy for a sign (ADR 0023)."""


class Kind(Struct, frozen=True):
    """One kind of frame: some thousand of them, and the four ways to read and build them."""

    name: str
    frames: list[bytes]
    rows: list[Any]
    read: Callable[[Stack], Any]
    build: Callable[[Any], Stack]
    read_one: Callable[[bytes], Any]
    build_one: Callable[[Any], bytes]


def kinds(count: int = COLUMN) -> list[Kind]:
    """The kinds that are timed, of meters and values from a fixed seed."""
    dice = random.Random(645)
    registered = [
        RegisterAnswer(
            b"\x10" + bytes.fromhex(f"{dice.randrange(10**14):014d}"),
            {"cumulative_volume": dice.randrange(10**8), "settlement_volume": dice.randrange(10**8)},
            {"cumulative_volume": 0x2C, "settlement_volume": 0x2C},
            BEGIN + dice.randrange(10**7) * 1000,
            bytes(2),
            dice.randrange(256),
        )
        for _ in range(count)
    ]
    energy = [EnergyAnswer(_electric(dice), FORWARD, dice.randrange(UNSIGNED), "kWh") for _ in range(count)]
    blocks = [
        IntervalBlock(
            _electric(dice),
            1,
            0x05,
            0,
            BEGIN + dice.randrange(10**5) * 3_600_000,
            3_600_000,
            tuple(dice.randrange(10**8) for _ in range(HOURS)),
        )
        for _ in range(count // 4)
    ]
    return [
        Kind(
            "CJ/T 188 register answers",
            [one_register_frame(row) for row in registered],
            registered,
            registers,
            register_frames,
            one_register_answer,
            one_register_frame,
        ),
        Kind(
            "DL/T 645 energy answers",
            [one_energy_frame(row) for row in energy],
            energy,
            energies,
            energy_frames,
            one_energy,
            one_energy_frame,
        ),
        Kind(
            f"DL/T 645 blocks of {HOURS} intervals",
            [one_interval_frame(row) for row in blocks],
            blocks,
            lambda frames: intervals(frames, "dlt645"),
            lambda columns: interval_frames(columns, "dlt645"),
            lambda raw: one_interval_block(raw, "dlt645"),
            one_interval_frame,
        ),
    ]


def _electric(dice: random.Random) -> bytes:
    return b"\xd7\x00" + bytes.fromhex(f"{dice.randrange(10**12):012d}")


def cases(closing: ExitStack, seconds: float) -> list[Case]:
    """The rows: each kind read and built both ways, and the package dlt645 reading the energies."""
    rows: list[Case] = []
    package = packaged()
    for kind in kinds():
        note = ""
        if kind.name.startswith("DL/T 645 energy") and package is None:
            note = " (the package dlt645 is not installed)"
        rows += _rows(kind, note)
        if kind.name.startswith("DL/T 645 energy") and package is not None:
            rows.append(_package_row(kind, package))
    return rows


def _rows(kind: Kind, note: str) -> list[Case]:
    stacked = stack(kind.frames)
    columns = kind.read(stacked)
    if columns.why.any() or kind.build(columns).raw.tobytes() != stacked.raw.tobytes():
        raise EngineError("bench.codec", f"The columns of {kind.name} are not what their frames say.")
    few, few_rows = kind.frames[:ALONE], kind.rows[:ALONE]
    if [kind.read_one(raw) for raw in few] != few_rows:
        raise EngineError("bench.codec", f"{kind.name} do not say what was put into them.")
    summed = Limit("the frames summed by numpy", ((1, _summed(stacked)),), units=len(stacked))
    added = Limit("each frame summed", ((1, _added(few)),), units=len(few))

    def case(name: str, work: Callable[[], object], count: int, limit: Limit) -> Case:
        def timed(watch: Watch) -> int:
            with watch:
                work()
            return count

        return Case(name=f"{kind.name}, {name}{note}", unit=UNIT, work=timed, limit=limit)

    return [
        case("read one by one", lambda: [kind.read_one(raw) for raw in few], len(few), added),
        case("read by the column", lambda: kind.read(stack(kind.frames)), len(stacked), summed),
        case("built one by one", lambda: [kind.build_one(row) for row in few_rows], len(few), added),
        case("built by the column", lambda: kind.build(columns), len(stacked), summed),
    ]


def _summed(stacked: Stack) -> Primitive:
    def run(times: int) -> None:
        for _ in range(times):
            np.add.reduce(stacked.raw, axis=1, dtype=np.uint8)

    return Primitive("the frames summed by numpy", run)


def _added(frames: list[bytes]) -> Primitive:
    def run(times: int) -> None:
        for _ in range(times):
            for raw in frames:
                sum(raw) & 0xFF

    return Primitive("each frame summed", run)


def packaged() -> Callable[[bytes], float] | None:
    """The reader of the package dlt645, from the bytes of an answer to its value; None where it is not installed."""
    try:
        from dlt645 import DLT645Protocol
    except ImportError:
        return None
    service = _client()

    def read(raw: bytes) -> float:
        frame = DLT645Protocol.deserialize(raw)
        service.address = frame.addr  # it answers for one meter at a time
        return float(service.handle_response(frame).value)

    return read


@cache
def _client() -> Any:
    """Its client, without a connection; making one copies its table of 20,000 identifiers."""
    from dlt645 import MeterClientService, TcpClient

    return MeterClientService(TcpClient())


def _package_row(kind: Kind, read: Callable[[bytes], float]) -> Case:
    few = kind.frames[:ALONE]
    if [round(100 * read(raw)) for raw in few] != [row.value for row in kind.rows[:ALONE]]:
        raise EngineError("bench.codec", "The package dlt645 reads other values from these frames.")

    def timed(watch: Watch) -> int:
        with watch:
            for raw in few:
                read(raw)
        return len(few)

    return Case(name=f"{kind.name}, read by the package dlt645", unit=UNIT, work=timed)
