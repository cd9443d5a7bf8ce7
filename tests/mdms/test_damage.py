"""Damage on the disk stops nobody but whom it hits: what is lost is named, nobody is billed across it, everybody else is
judged and proved, and what is restored is taken up by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meterseal.errors import DataError
from meterseal.mdms.finding import Finding
from meterseal.mdms.service import Mdms
from meterseal.mdms.unreadable import UNREADABLE
from meterseal.model import MAIN, Batch, Opened, Quality
from tests.mdms.fleet import (
    DAY,
    FIRST,
    HOUR,
    Chains,
    day_record,
    evidence_record,
    open_store,
    point,
    register,
)

METERS, BEFORE, AFTER = 4, 6, 2
HIT = 3
NOW = FIRST + 30 * DAY
LAST = FIRST + BEFORE * DAY


def first_byte(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def last_byte(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


def readings(number: int, day: int) -> Opened:
    return msgspec.structs.replace(day_record(number, day, 2 * day + 1), statuses=())


async def begin(mdms: Mdms, chains: Chains) -> None:
    """Six days of readings, and the evidence of all but the last of them."""
    for day in range(BEFORE):
        records = [readings(number, day) for number in range(METERS)]
        if day < BEFORE - 1:
            records += [proof(chains, number, day) for number in range(METERS)]
        await mdms.publish(Batch(tuple(records)))
    await mdms.run_vee(NOW)
    await mdms.compact()


def proof(chains: Chains, number: int, day: int) -> Opened:
    return evidence_record(chains.evidence(number, day), number, 2 * day + 2, FIRST + (day + 1) * DAY + 6_000)


def spiked(number: int, day: int) -> Opened:
    """A day with one reading far above the others."""
    record = readings(number, day)
    first, rest = record.series
    high = (*first.registers[:9], (first.registers[9] or 0) + 9_000_000, *first.registers[10:])
    return msgspec.structs.replace(record, series=(msgspec.structs.replace(first, registers=high), rest))


def lost(mdms: Mdms) -> list[Finding]:
    return [one for one in mdms.findings() if one.rule == UNREADABLE]


@pytest.mark.parametrize("damage", [first_byte, last_byte])
async def test_a_damaged_part_of_a_segment_holds_up_neither_evidence_nor_the_rules_of_others(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    mdms, engine = open_store(tmp_path, METERS)
    chains = Chains()
    await begin(mdms, chains)
    await mdms.close()
    engine.dispose()
    (file,) = (tmp_path / "measurements" / "segments").glob("electricity-202611-*")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))

    mdms, engine = open_store(tmp_path)
    late = [proof(chains, number, BEFORE - 1) for number in range(METERS)]
    later = [readings(number, BEFORE) for number in range(HIT)]
    await mdms.publish(Batch((*late, *later, spiked(HIT, BEFORE))))
    await mdms.publish(Batch(tuple(readings(number, BEFORE + 1) for number in range(METERS))))
    await mdms.settle()
    assert mdms.counts().evidence_good == METERS * BEFORE - 1
    run = await mdms.run_vee(NOW + 1)
    assert run.readings > 0

    (one,) = lost(mdms)
    assert (one.usage_point, one.channel, one.severity, one.detail) == (
        point(HIT),
        MAIN,
        "error",
        {"file": file.name},
    )
    assert FIRST < one.since <= FIRST + 9 * HOUR  # where November begins in UTC
    assert one.until == LAST
    # What came after it is judged: the fall of the register after the high reading is seen.
    assert {o.usage_point for o in mdms.findings() if o.since > LAST and o.rule != UNREADABLE} == {point(HIT)}
    # Nobody takes it for a gap, and nobody is given what is there for all.
    with pytest.raises(DataError) as refused:
        mdms.registers(point(HIT), MAIN, FIRST, LAST + DAY)
    assert refused.value.code == "mdms.segment-damaged"
    shown = mdms.registers(point(HIT), MAIN, LAST + HOUR, LAST + 2 * DAY)
    assert shown.end_at[shown.quality == Quality.ESTIMATED].tolist() == [LAST + 10 * HOUR]
    for number in range(HIT):
        assert len(mdms.registers(point(number), MAIN, FIRST, LAST + 2 * DAY).end_at) == 24 * (BEFORE + AFTER)
    # Said once, however often it is met.
    assert (await mdms.run_vee(NOW + 2)).findings == 0
    assert len(lost(mdms)) == 1

    file.write_bytes(whole)
    await mdms.run_vee(NOW + 3)
    await mdms.settle()
    assert mdms.counts().evidence_good == METERS * BEFORE
    shown = mdms.registers(point(HIT), MAIN, FIRST, LAST)
    assert shown.register.tolist() == [
        register(HIT, FIRST + hour * HOUR) for hour in range(1, 24 * BEFORE + 1)
    ]
    assert set(shown.quality.tolist()) == {Quality.MEASURED}
    assert mdms._state.dirty == {}
    await mdms.close()
    engine.dispose()


async def test_the_rules_say_of_a_restored_store_what_they_would_have_said(tmp_path: Path) -> None:
    said = []
    for hit in (False, True):
        root = tmp_path / str(hit)
        root.mkdir()
        mdms, engine = open_store(root, METERS)
        await begin(mdms, Chains())
        (file,) = (root / "measurements" / "segments").glob("electricity-202611-*")
        whole = file.read_bytes()
        await mdms.publish(Batch((spiked(HIT, BEFORE),)))
        if hit:
            file.write_bytes(first_byte(whole))
            await mdms.close()
            engine.dispose()
            mdms, engine = open_store(root)  # nothing of it is in memory any more
            await mdms.run_vee(NOW + 1)
            assert len(lost(mdms)) == 1
            file.write_bytes(whole)
        await mdms.publish(Batch((readings(HIT, BEFORE + 1),)))
        await mdms.run_vee(NOW + 2)
        found = [one for one in mdms.findings() if one.rule != UNREADABLE]
        said.append(sorted((one.rule, one.usage_point, one.since, one.until) for one in found))
        await mdms.close()
        engine.dispose()
    assert said[0]
    assert said[0] == said[1]


def moved(root: Path, to: Path) -> None:
    to.mkdir()
    for path in root.glob("control.db*"):
        path.rename(to / path.name)


@pytest.mark.parametrize("older", [False, True])
async def test_a_store_whose_control_store_is_lost_or_older_is_left_as_it_is(
    tmp_path: Path, older: bool
) -> None:
    """Segments that no manifest names were swept at a start: all of them, when the control store was not there."""
    root, away = tmp_path / "store", tmp_path / "away"
    root.mkdir()
    mdms, engine = open_store(root, METERS)
    await begin(mdms, Chains())
    if older:
        await mdms.close()
        engine.dispose()
        shutil.copytree(root, tmp_path / "before")
        mdms, engine = open_store(root)
    await mdms.publish(Batch(tuple(readings(number, BEFORE) for number in range(METERS))))
    await mdms.compact()
    if older:
        await mdms.publish(Batch((readings(0, BEFORE + 1),)))
    await mdms.close()
    engine.dispose()
    files = {path: path.read_bytes() for path in (root / "measurements").rglob("*") if path.is_file()}
    moved(root, away)
    for path in (tmp_path / "before").glob("control.db*"):
        shutil.copy(path, root)
    for _ in range(2):
        with pytest.raises(DataError) as refused:
            open_store(root)
        assert refused.value.code == ("mdms.ledger-damaged" if older else "mdms.manifest-lost")
    assert {path: path.read_bytes() for path in files} == files
    moved(root, tmp_path / "wrong")
    for path in away.iterdir():
        path.rename(root / path.name)
    mdms, engine = open_store(root)
    assert len(mdms.registers(point(1), MAIN, FIRST, LAST + DAY).end_at) == 24 * (BEFORE + 1)
    await mdms.close()
    engine.dispose()
