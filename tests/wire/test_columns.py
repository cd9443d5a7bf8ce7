"""Frames as columns: every row says what the same frame says alone, or is refused for the same reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from meterseal.errors import LocalError
from meterseal.units import UNITS
from meterseal.wire import encode
from meterseal.wire.columns import (
    HEAT,
    UNSET,
    VOLUME,
    Energies,
    EnergyAnswer,
    IntervalBlock,
    Intervals,
    RegisterAnswer,
    Registers,
    Stack,
    Why,
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
from meterseal.wire.columns.energy import UNITS as ENERGY_UNITS
from meterseal.wire.columns.registers import Layout
from meterseal.wire.dlt645 import table
from tests.wire import built

from .frames import VECTORS, electricity, household

Protocol = Literal["cjt188", "dlt645"]
CAPTURED = [bytes.fromhex(vector["hex"]).lstrip(b"\xfe") for vector in VECTORS]
AT = 1_715_436_091_000


def device_of(number: Any) -> bytes:
    return int(number).to_bytes(8, "big")


def register_rows(found: Registers) -> list[RegisterAnswer | Why]:
    return [
        RegisterAnswer(
            device_of(found.device[row]),
            {name: int(column[row]) for name, column in found.value.items()},
            {name: int(column[row]) for name, column in found.unit.items()},
            None if found.clock[row] == UNSET else int(found.clock[row]),
            int(found.status[row]).to_bytes(2, "big"),
            int(found.ser[row]),
            bool(found.high_first[row]),
        )
        if found.why[row] == 0
        else Why(found.why[row])
        for row in range(len(found))
    ]


def energy_rows(found: Energies) -> list[EnergyAnswer | Why]:
    return [
        EnergyAnswer(
            device_of(found.device[row]),
            int(found.di[row]),
            int(found.value[row]),
            ENERGY_UNITS[found.unit[row]],
        )
        if found.why[row] == 0
        else Why(found.why[row])
        for row in range(len(found))
    ]


def interval_rows(found: Intervals) -> list[IntervalBlock | Why]:
    rows: list[IntervalBlock | Why] = []
    for row in range(len(found)):
        if found.why[row]:
            rows.append(Why(found.why[row]))
            continue
        first, count = int(found.first[row]), int(found.count[row])
        values = tuple(
            None if found.missing[at] else int(found.value[at]) for at in range(first, first + count)
        )
        rows.append(
            IntervalBlock(
                device_of(found.device[row]),
                int(found.channel[row]),
                int(found.unit[row]),
                int(found.status[row]),
                int(found.start[row]),
                int(found.step[row]),
                values,
                int(found.ser[row]),
            )
        )
    return rows


Batch = Callable[[list[bytes]], list[Any]]
One = Callable[[bytes], Any]
READERS: dict[str, tuple[Batch, One]] = {
    "volumes": (
        lambda frames: register_rows(registers(stack(frames), VOLUME)),
        lambda raw: one_register_answer(raw, VOLUME),
    ),
    "heats": (
        lambda frames: register_rows(registers(stack(frames), HEAT)),
        lambda raw: one_register_answer(raw, HEAT),
    ),
    "energies": (lambda frames: energy_rows(energies(stack(frames))), one_energy),
    "blocks 188": (
        lambda frames: interval_rows(intervals(stack(frames), "cjt188")),
        lambda raw: one_interval_block(raw, "cjt188"),
    ),
    "blocks 645": (
        lambda frames: interval_rows(intervals(stack(frames), "dlt645")),
        lambda raw: one_interval_block(raw, "dlt645"),
    ),
}


def agree(frames: list[bytes]) -> dict[str, set[Any]]:
    """Both forms of every kind say the same of these frames; which refusals were met."""
    met: dict[str, set[Any]] = {}
    for name, (batch, one) in READERS.items():
        got, alone = batch(frames), [one(raw) for raw in frames]
        for raw, here, there in zip(frames, got, alone, strict=True):
            assert here == there, (name, raw.hex())
        met[name] = {said if isinstance(said, Why) else Why.OK for said in alone}
    return met


# --- frames to judge ---------------------------------------------------------------------------------------------


def random_volume(dice: random.Random) -> RegisterAnswer:
    return RegisterAnswer(
        bytes((dice.choice((0x10, 0x11, 0x19, 0x30, 0x31)),)) + dice.randbytes(7),
        {place.name: dice.randrange(10**8) for place in VOLUME.places},
        {place.name: dice.choice((0x2C, 0x29)) for place in VOLUME.places},
        dice.choice((None, dice.randrange(-(10**12), 4 * 10**12) // 1000 * 1000)),
        dice.randbytes(2),
        dice.randrange(256),
        dice.random() < 0.5,
    )


def random_heat(dice: random.Random) -> RegisterAnswer:
    return RegisterAnswer(
        bytes((dice.choice((0x20, 0x25)),)) + dice.randbytes(7),
        {place.name: dice.randrange(100**place.size) for place in HEAT.places},
        {place.name: dice.choice(sorted(place.codes)) for place in HEAT.places if place.codes},
        dice.choice((None, AT)),
        dice.randbytes(2),
        dice.randrange(256),
        dice.random() < 0.5,
    )


ENERGY_DIS = [
    0x00000000, 0x00010000, 0x00020100, 0x00033F0C, 0x00040000, 0x00050001, 0x000A0000, 0x0015000C, 0x00440000,
    0x00800000, 0x00860000, 0x00C20003, 0x00900100, 0x00900200, 0x000B0000, 0x000D0001,
]  # fmt: skip


def random_energy(dice: random.Random) -> EnergyAnswer:
    di = dice.choice(ENERGY_DIS)
    quantity = table.lookup(di)
    assert quantity is not None
    item = quantity.items[0]
    value = dice.randrange(-79_999_999, 80_000_000) if item.signed else dice.randrange(10**8)
    return EnergyAnswer(b"\xd7\x00" + dice.randbytes(6), di, value, item.unit or "")


def random_block(dice: random.Random, protocol: Protocol) -> IntervalBlock:
    device = dice.randbytes(6)
    return IntervalBlock(
        b"\xd7\x00" + device if protocol == "dlt645" else b"\x10\x00" + device,
        dice.randrange(256),
        dice.choice(sorted(UNITS)),
        dice.randrange(256),
        AT // 1000 * 1000 - dice.randrange(10**9) * 1000,
        dice.randrange(1, 256) * 60_000,
        tuple(
            dice.choice((None, dice.randrange(10**8)))
            for _ in range(dice.randrange(1, encode.INTERVALS_PER_FRAME[protocol] + 1))
        ),
        dice.randrange(256) if protocol == "cjt188" else 0,
    )


def good_frames(dice: random.Random, each: int) -> list[bytes]:
    frames: list[bytes] = []
    for _ in range(each):
        frames += [
            one_register_frame(random_volume(dice), VOLUME),
            one_register_frame(random_heat(dice), HEAT),
            one_energy_frame(random_energy(dice)),
            one_interval_frame(random_block(dice, "cjt188")),
            one_interval_frame(random_block(dice, "dlt645")),
        ]
    return frames


def mended(raw: bytes) -> bytes:
    """The same frame with the checksum right again, so that what it carries is judged."""
    return raw[:-2] + bytes((sum(raw[:-2]) % 256,)) + raw[-1:]


def spoiled(raw: bytes, dice: random.Random) -> bytes:
    how = dice.randrange(6)
    if how == 0:
        return raw[: dice.randrange(len(raw) + 1)]
    if how == 1:
        return raw + dice.randbytes(dice.randrange(1, 4))
    changed = bytearray(raw)
    changed[dice.randrange(len(raw))] = dice.choice((0xFF, 0xAA, 0x16, 0x68, 0x33, 0x00, dice.randrange(256)))
    if how == 2 or len(changed) < 3:
        return bytes(changed)
    if how == 3:
        at = dice.randrange(len(raw) - 2)
        changed[at : at + 4] = dice.choice((b"\xff" * 4, b"\x32" * 4, b"\0" * 4))[: max(0, len(raw) - 2 - at)]
    return mended(bytes(changed))


# --- reading -----------------------------------------------------------------------------------------------------


def test_both_forms_agree_on_every_captured_frame() -> None:
    met = agree(CAPTURED)
    assert Why.OK in met["volumes"] & met["heats"] & met["energies"]
    taken = {
        name: sum(not isinstance(one(raw), Why) for raw in CAPTURED) for name, (_, one) in READERS.items()
    }
    assert taken == {"volumes": 11, "heats": 2, "energies": 13, "blocks 188": 0, "blocks 645": 0}


def test_both_forms_agree_on_random_frames_good_and_spoiled() -> None:
    dice = random.Random(188_645)
    frames = good_frames(dice, 60)
    agree(frames)
    met = agree([spoiled(dice.choice(frames), dice) for _ in range(4000)])
    for name in READERS:
        assert met[name] >= {
            Why.OK,
            Why.NO_FRAME,
            Why.TRUNCATED,
            Why.END,
            Why.CHECKSUM,
            Why.BEHIND,
            Why.OTHER,
            Why.DIGITS,
        }
    assert Why.UNIT in met["volumes"] & met["heats"]


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(CAPTURED)), max_size=6))
@settings(max_examples=60)
def test_both_forms_agree_on_any_bytes(frames: list[bytes]) -> None:
    agree(frames)


def test_every_byte_of_a_frame_changed_is_judged_alike() -> None:
    dice = random.Random(3)
    for raw in good_frames(dice, 1):
        frames = []
        for place in range(len(raw) - 2):
            for value in (0x00, 0x0A, 0x33, 0x3D, 0x90, 0xFF, raw[place] ^ 0x80):
                frames.append(mended(raw[:place] + bytes((value,)) + raw[place + 1 :]))
        agree(frames)


def test_clocks_of_every_kind_are_read_alike() -> None:
    clocks = [
        "00000000000000", "31012211051520", "20150511220131", "00000029022420", "00000029022320", "00000031042420",
        "59592331122199", "59592331129919", "00000001010019", "60000001010020", "0000240101 0020", "00000001130020",
        "00000000010020", "ffffffffffffff", "0a000001010020", "00000028022122", "00000029020020", "00000029020021",
    ]  # fmt: skip
    base = one_register_frame(random_volume(random.Random(4)), VOLUME)
    frames = [mended(base[:24] + bytes.fromhex(clock) + base[31:]) for clock in clocks]
    agree(frames)
    found = registers(stack(frames), VOLUME)
    assert (found.why == 0).all()
    assert found.clock[0] == UNSET
    assert found.clock[1] == found.clock[2] == AT - 1000 * 86400 * 3288
    for offset in (-720, 0, 345, 840):
        batch = registers(stack(frames), VOLUME, utc_offset_minutes=offset)
        for row, raw in enumerate(frames):
            alone = one_register_answer(raw, VOLUME, utc_offset_minutes=offset)
            assert isinstance(alone, RegisterAnswer)
            assert batch.clock[row] == (UNSET if alone.clock is None else alone.clock)


def test_a_few_sizes_of_stacks() -> None:
    for frames in ([], [b""], [b"\x68"], [b"", b"\x68" * 400], [CAPTURED[0]]):
        agree(frames)
    found = intervals(stack([]), "cjt188")
    assert (len(found), len(found.value), len(found.at())) == (0, 0, 0)


def test_a_refused_row_holds_nothing() -> None:
    bad = household(0x81, bytes.fromhex("901f01") + bytes(4) + b"\x2c" + b"\xff" * 4 + b"\x2c" + bytes(9))
    found = registers(stack([bad]), VOLUME)
    assert found.why[0] == Why.DIGITS
    assert (found.device[0], found.clock[0], found.status[0]) == (0, UNSET, 0)
    assert all(column[0] == 0 for column in (*found.value.values(), *found.unit.values()))  # type: ignore[index]
    blank = energies(stack([electricity(0x91, bytes.fromhex("00000100ffffffff"))]))
    assert (blank.why[0], blank.value[0], blank.di[0]) == (Why.DIGITS, 0, 0)


def test_the_registers_of_a_block_have_their_times() -> None:
    blocks = [random_block(random.Random(seed), "dlt645") for seed in range(5)]
    frames = [one_interval_frame(block) for block in blocks]
    frames.insert(2, CAPTURED[0])
    found = intervals(stack(frames), "dlt645")
    wanted = [block.start + n * block.step for block in blocks for n in range(len(block.registers))]
    assert found.at().tolist() == wanted
    assert found.row_of_value().tolist() == [
        row for row, block in zip((0, 1, 3, 4, 5), blocks, strict=True) for _ in block.registers
    ]


def test_every_refusal_has_the_code_of_one_frame_s_error() -> None:
    assert Why.OK.code == ""
    codes = [why.code for why in Why if why]
    assert len(set(codes)) == len(codes) == 8
    assert all(code.startswith("wire.") for code in codes)


# --- building ----------------------------------------------------------------------------------------------------


def register_columns(rows: list[RegisterAnswer], layout: Layout) -> Registers:
    return Registers(
        np.zeros(len(rows), np.uint8),
        np.array([int.from_bytes(row.device_id, "big") for row in rows], np.uint64),
        {place.name: np.array([row.value[place.name] for row in rows], np.int64) for place in layout.places},
        {
            place.name: np.array([row.unit[place.name] for row in rows], np.uint8)
            for place in layout.places
            if place.codes
        },
        np.array([UNSET if row.clock is None else row.clock for row in rows], np.int64),
        np.array([int.from_bytes(row.status, "big") for row in rows], np.uint16),
        np.array([row.ser for row in rows], np.uint8),
        np.array([row.high_first for row in rows], np.bool_),
    )


def energy_columns(rows: list[EnergyAnswer]) -> Energies:
    return Energies(
        np.zeros(len(rows), np.uint8),
        np.array([int.from_bytes(row.device_id, "big") for row in rows], np.uint64),
        np.array([row.di for row in rows], np.uint32),
        np.array([row.value for row in rows], np.int64),
        np.array([ENERGY_UNITS.index(row.unit) for row in rows], np.uint8),
    )


def interval_columns(rows: list[IntervalBlock]) -> Intervals:
    counts = np.array([len(row.registers) for row in rows], np.int64)
    flat = [register for row in rows for register in row.registers]
    return Intervals(
        np.zeros(len(rows), np.uint8),
        np.array([int.from_bytes(row.device_id, "big") for row in rows], np.uint64),
        np.array([row.channel for row in rows], np.uint8),
        np.array([row.unit for row in rows], np.uint8),
        np.array([row.status for row in rows], np.uint8),
        np.array([row.start for row in rows], np.int64),
        np.array([row.step for row in rows], np.int64),
        counts,
        np.cumsum(counts) - counts,
        np.array([register or 0 for register in flat], np.int64),
        np.array([register is None for register in flat], np.bool_),
        np.array([row.ser for row in rows], np.uint8),
    )


def sent(built: Stack) -> list[bytes]:
    return [built.raw[row, : built.sizes[row]].tobytes() for row in range(len(built))]


def test_columns_become_the_frames_that_rows_become_and_come_back() -> None:
    dice = random.Random(11)
    for layout, make in ((VOLUME, random_volume), (HEAT, random_heat)):
        rows = [make(dice) for _ in range(300)]
        built = register_frames(register_columns(rows, layout), layout)
        assert sent(built) == [one_register_frame(row, layout) for row in rows]
        assert register_rows(registers(built, layout)) == rows
    energy = [random_energy(dice) for _ in range(300)]
    built = energy_frames(energy_columns(energy))
    assert sent(built) == [one_energy_frame(row) for row in energy]
    assert energy_rows(energies(built)) == energy
    for protocol in ("cjt188", "dlt645"):
        blocks = [random_block(dice, protocol) for _ in range(200)]
        built = interval_frames(interval_columns(blocks), protocol)
        assert sent(built) == [one_interval_frame(row) for row in blocks]
        assert interval_rows(intervals(built, protocol)) == blocks


def test_the_builders_of_the_station_make_the_same_frames() -> None:
    volume = random_volume(random.Random(12))
    volume = replace(volume, clock=AT, high_first=True, unit=dict.fromkeys(volume.unit, 0x2C))
    body = built.volume_payload(*volume.value.values(), AT, volume.status)
    assert (
        one_register_frame(volume, VOLUME)
        == built.current_data_answer(volume.device_id, body, volume.ser).encode()
    )
    assert one_energy_frame(EnergyAnswer(b"\xd7\x00" + bytes(6), 0x00010000, 26, "kWh")) == (
        built.energy_answer(b"\xd7\x00" + bytes(6), 26).encode()
    )


V, E, B = (
    random_volume(random.Random(1)),
    random_energy(random.Random(2)),
    random_block(random.Random(3), "dlt645"),
)
YEAR_2200 = 7_258_118_400_000
WRONG: list[tuple[Any, dict[str, Any]]] = [
    (V, {"device_id": b"\x20" + bytes(7)}),
    (V, {"device_id": b"\xd7" + bytes(7)}),
    (V, {"device_id": b"\xf0" + bytes(7)}),
    (V, {"value": {**V.value, "cumulative_volume": 10**8}}),
    (V, {"value": {**V.value, "settlement_volume": -1}}),
    (V, {"unit": {**V.unit, "settlement_volume": 0x05}}),
    (V, {"clock": YEAR_2200}),
    (V, {"clock": -2_300_000_000_000}),
    (E, {"device_id": b"\x10" + bytes(7)}),
    (E, {"device_id": b"\xd7\x01" + bytes(6)}),
    (E, {"di": 0x0001FF00}),
    (E, {"di": 0x02010100}),
    (E, {"di": 0x00010000, "value": -1}),
    (E, {"di": 0x00010000, "value": 10**8}),
    (E, {"di": 0x00000000, "value": 80_000_000}),
    (E, {"di": 0x00000000, "value": -80_000_000}),
    (B, {"device_id": b"\x10" + bytes(7)}),
    (B, {"registers": ()}),
    (B, {"registers": (1,) * 44}),
    (B, {"registers": (10**8,)}),
    (B, {"registers": (-1,)}),
    (B, {"step": 256 * 60_000}),
    (B, {"step": 90_500}),
    (B, {"step": 0}),
    (B, {"unit": 0x77}),
    (B, {"start": YEAR_2200}),
]


@pytest.mark.parametrize(("row", "change"), WRONG)
def test_what_no_frame_holds_is_refused_alike_and_the_row_named(row: Any, change: dict[str, Any]) -> None:
    wrong = replace(row, **change)
    build: dict[type, tuple[Callable[[list[Any]], Any], Callable[[Any], bytes]]] = {
        RegisterAnswer: (lambda rows: register_frames(register_columns(rows, VOLUME)), one_register_frame),
        EnergyAnswer: (lambda rows: energy_frames(energy_columns(rows)), one_energy_frame),
        IntervalBlock: (lambda rows: interval_frames(interval_columns(rows), "dlt645"), _one_645),
    }
    batch, one = build[type(row)]
    with pytest.raises(LocalError) as alone:
        one(wrong)
    with pytest.raises(LocalError) as together:
        batch([row, row, wrong, row])
    assert alone.value.code == together.value.code == "wire.field"
    assert together.value.facts == {"row": 2}


def _one_645(block: IntervalBlock) -> bytes:
    if block.device_id[0] != 0xD7:
        raise LocalError(
            "wire.field", "the batch was told the protocol, the row alone tells it by its device id"
        )
    return one_interval_frame(block)


def test_refused_rows_are_not_built_again() -> None:
    for found, build in (
        (registers(stack([b""])), register_frames),
        (energies(stack([b""])), energy_frames),
        (intervals(stack([b""]), "dlt645"), lambda one: interval_frames(one, "dlt645")),
    ):
        with pytest.raises(LocalError, match="Row 0"):
            build(found)  # type: ignore[operator]


def test_no_column_is_a_float() -> None:
    frames = stack(good_frames(random.Random(9), 3))
    for found in (registers(frames), registers(frames, HEAT), energies(frames), intervals(frames, "cjt188")):
        for name in found.__struct_fields__:
            column = getattr(found, name)
            for one in column.values() if isinstance(column, dict) else (column,):
                assert one.dtype.kind in "iub", name
