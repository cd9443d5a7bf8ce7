"""The facade: what is placed, what is held back, what is shown, and what one faulty disk does to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import meter_status, meters, segments
from meterseal.errors import DataError, EngineError, LocalError, TrustError
from meterseal.link.counters import CounterSet
from meterseal.mdms.reading import Freshness, Limits
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.files import NewFile
from meterseal.mdms.store.journal import Journal
from meterseal.mdms.store.rows import ORIGINS
from meterseal.mdms.upkeep import Works
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch, Opened, Quality, Quarantined, Series, Status
from tests.mdms.fleet import (
    DAY,
    FIRST,
    HOUR,
    batches,
    day_record,
    days,
    device,
    keys,
    open_store,
    point,
    register,
    shuffled,
)


def spot(number: int, at: int, value: int, counter: int, **changes: object) -> Opened:
    record = day_record(number, 0, counter)
    series = Series(device(number), MAIN, "m3", -2, at, 0, (value,))
    return msgspec.structs.replace(record, series=(series,), statuses=(), **changes)


async def test_every_hour_of_every_meter_is_there_whatever_the_order(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 4)
    records = shuffled([record for day in days(4, 3) for record in day], 7)
    await asyncio.gather(*(mdms.publish(batch) for batch in batches(records, 5)))
    for number in range(4):
        shown = mdms.readings(point(number), MAIN, FIRST, FIRST + 3 * DAY + 1)
        assert shown.end_at.tolist() == [FIRST + hour * HOUR for hour in range(1, 73)]
        assert shown.register.tolist() == [register(number, FIRST + hour * HOUR) for hour in range(1, 73)]
        assert set(shown.quality.tolist()) == {Quality.MEASURED}
        assert (shown.exponent, shown.unit) == (-2, "m3" if number < 2 else "kWh")
    assert len(mdms.readings(point(0), MAIN, FIRST, FIRST + DAY).end_at) == 23
    assert len(mdms.registers(point(0), MAIN, FIRST, FIRST + DAY).end_at) == 24
    assert len(mdms.registers("up-unknown", MAIN, 0, FIRST).end_at) == 0
    assert mdms.channels() == [(point(number), MAIN) for number in range(4)]
    await mdms.close()


async def test_together_is_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mdms, _ = open_store(tmp_path, 3)
    appended: list[int] = []
    append = Journal.append
    monkeypatch.setattr(Journal, "append", lambda self, entry: appended.append(1) or append(self, entry))
    records = [record for day in days(3, 10) for record in day]
    await asyncio.gather(*(mdms.publish(batch) for batch in batches(records, 1)))
    assert len(appended) <= 3
    assert mdms.counts().records == len(records) == 60
    await mdms.close()


async def test_an_unknown_meter_is_kept_and_not_lost(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    known, stranger = day_record(0, 0, 1), day_record(7, 0, 1)
    await mdms.publish(Batch((known, stranger)))
    assert 1 in CounterSet.from_bytes(mdms.consumed(stranger.session_id))
    counts = mdms.counts()
    assert (counts.records, counts.readings, counts.quarantined) == (2, 24, 1)
    held = mdms.quarantine()
    assert {(one.code, one.device_id, one.reject_class) for one in held} == {
        ("mdms.unknown-device", device(7), 3)
    }
    kept = [msgspec.msgpack.decode(one.record, type=Opened) for one in held]
    assert [one.series for one in kept] == [stranger.series]
    await mdms.close()


async def test_quarantine_of_the_head_end_consumes_its_counter(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    held = Quarantined(b"session8", 5, device(0), FIRST, 1, "wire.checksum", b"the record as it came")
    await mdms.publish(Batch(quarantined=(held,)))
    await mdms.publish(Batch(quarantined=(held,)))
    assert 5 in CounterSet.from_bytes(mdms.consumed(b"session8"))
    assert mdms.quarantine() == [held]
    assert mdms.counts().quarantined == 1
    await mdms.close()


async def test_rejected_counters_are_known_from_the_commit_on_and_after_any_restart(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    held = [
        Quarantined(b"session8", counter, device(0), FIRST, each, code, b"record")
        for counter, each, code in ((7, 1, "wire.checksum"), (5, 2, "link.policy"), (6, 3, "link.vouching"))
    ]
    await mdms.publish(Batch((day_record(7, 0, 1),), tuple(held[:2])))
    assert mdms.rejected(b"session8") == [(5, 2), (7, 1)]
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert mdms.rejected(b"session8") == [(5, 2), (7, 1)]
    await mdms.settle()
    await mdms.publish(Batch(quarantined=(held[2],)))
    await mdms.compact()
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert mdms.rejected(b"session8") == [(5, 2), (6, 3), (7, 1)]
    # An unknown meter's record was acknowledged before nobody could place it, and is acknowledged again.
    assert mdms.rejected(day_record(7, 0, 1).session_id) == []
    await mdms.close()


async def test_readings_outside_of_the_installation_are_held_back(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    with write(engine) as connection:
        connection.execute(meters.update().values(since=FIRST + 10 * HOUR, until=FIRST + 15 * HOUR))
    await mdms.publish(Batch((day_record(0, 0, 1),)))
    shown = mdms.registers(point(0), MAIN, 0, FIRST + DAY)
    assert shown.end_at.tolist() == [FIRST + hour * HOUR for hour in range(10, 15)]
    held = [s for one in mdms.quarantine() for s in msgspec.msgpack.decode(one.record, type=Opened).series]
    assert sum(len(series.registers) for series in held) == 19
    await mdms.close()


async def test_a_removed_meter_counts_from_when_the_store_is_told(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((day_record(0, 0, 1),)))
    with write(engine) as connection:
        connection.execute(meters.update().values(until=FIRST + DAY))
    mdms.meters_changed()
    await mdms.publish(Batch((day_record(0, 1, 2),)))
    assert mdms.counts().readings == 24
    await mdms.close()


async def test_nonsense_that_was_signed_is_held_back_and_the_rest_stored(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    good = day_record(0, 0, 1)
    strange = [
        msgspec.structs.replace(good.series[0], **change)
        for change in (
            {"channel": 200},
            {"channel": -1},
            {"exponent": 99},
            {"start_at": 2**62},
            {"start_at": -5},
            {"step": -1},
            {"step": 0},
            {"registers": (2**60,)},
            {"unit": "u" * 40},
        )
    ]
    record = msgspec.structs.replace(
        good, series=(*strange, *good.series, Series(device(0), 1, "m3", -2, 0, 1, ()))
    )
    await mdms.publish(Batch((record,)))
    assert mdms.counts().readings == 24
    (held,) = mdms.quarantine()
    assert msgspec.msgpack.decode(held.record, type=Opened).series == tuple(
        sorted(strange, key=lambda s: s.step == 0)
    )
    await mdms.close()


async def test_a_reading_from_the_future_is_suspect(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    record = msgspec.structs.replace(day_record(0, 0, 1), received_at=FIRST + 10 * HOUR - 15 * 60_000)
    await mdms.publish(Batch((record,)))
    quality = mdms.registers(point(0), MAIN, 0, FIRST + DAY).quality.tolist()
    assert quality == [Quality.MEASURED] * 10 + [Quality.SUSPECT] * 14
    assert mdms.latest() == {point(0): FIRST + 10 * HOUR}
    assert mdms.freshness() == {point(0): Freshness(FIRST + 10 * HOUR, record.received_at)}
    await mdms.close()


async def test_another_value_for_the_same_instant_is_a_finding_and_the_first_stays(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    at = FIRST + 3 * HOUR
    await mdms.publish(Batch((day_record(0, 0, 1),)))
    await mdms.compact()
    for counter in (2, 3):
        await mdms.publish(Batch((spot(0, at, 99_999, counter),)))
    assert mdms.registers(point(0), MAIN, at, at).register.tolist() == [register(0, at)]
    (finding,) = mdms.findings()
    assert (finding.rule, finding.since, finding.severity) == ("conflict", at, "error")
    assert finding.values is not None
    assert msgspec.msgpack.decode(finding.values) == {
        "kept": [register(0, at), -2, "m3"],
        "refused": [99_999, -2, "m3"],
        "facts": {"kept": register(0, at) / 100, "refused": 999.99},
    }
    assert "99999" not in str(finding.detail)
    await mdms.close()


async def test_a_repeat_in_another_scale_is_a_repeat(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    at = FIRST + 3 * HOUR
    await mdms.publish(Batch((day_record(0, 0, 1),)))
    finer = msgspec.structs.replace(
        spot(0, at, 0, 2), series=(Series(device(0), MAIN, "m3", -3, at, 0, (10 * register(0, at),)),)
    )
    await mdms.publish(Batch((finer,)))
    assert (mdms.counts().conflicts, mdms.counts().repeated_readings) == (0, 1)
    await mdms.close()


async def test_mixed_scales_come_out_in_the_finest_and_mixed_units_not_at_all(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    coarse = Series(device(0), MAIN, "m3", -1, FIRST + HOUR, 0, (7,))
    fine = Series(device(0), MAIN, "m3", -3, FIRST + 2 * HOUR, 0, (801,))
    litres = Series(device(0), MAIN, "L", 0, FIRST + 3 * HOUR, 0, (9,))
    await mdms.publish(Batch((msgspec.structs.replace(day_record(0, 0, 1), series=(coarse, fine, litres)),)))
    shown = mdms.registers(point(0), MAIN, 0, FIRST + 2 * HOUR)
    assert (shown.register.tolist(), shown.exponent) == ([700, 801], -3)
    with pytest.raises(DataError) as caught:
        mdms.registers(point(0), MAIN, 0, FIRST + DAY)
    assert caught.value.code == "mdms.units"
    await mdms.close()


async def test_the_past_can_be_shown_as_it_was(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    gap = msgspec.structs.replace(
        day_record(0, 0, 1), series=(hours(0, (1, 2, None, 4)),), received_at=FIRST + DAY
    )
    late = msgspec.structs.replace(
        day_record(0, 0, 2), series=(hours(0, (1, 2, 3, 4)),), received_at=FIRST + 9 * DAY
    )
    await mdms.publish(Batch((gap,)))
    await mdms.run_vee(FIRST + 5 * DAY)
    await mdms.publish(Batch((late,)))

    def third(as_of: int | None) -> tuple[int, int]:
        shown = mdms.readings(point(0), MAIN, FIRST, FIRST + DAY, as_of)
        return int(shown.quality[2]), int(shown.register[2])

    assert third(FIRST + 2 * DAY)[0] == Quality.MISSING
    assert third(FIRST + 6 * DAY) == (Quality.ESTIMATED, 30)
    assert third(None) == (Quality.MEASURED, 30)
    assert mdms.counts().missing == 0
    await mdms.close()


def hours(number: int, registers: tuple[int | None, ...]) -> Series:
    tens = tuple(None if register_ is None else 10 * register_ for register_ in registers)
    return Series(device(number), MAIN, "m3", -2, FIRST + HOUR, HOUR, tens)


async def test_consumed_counters_survive_compaction_and_restart(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    record = day_record(0, 0, 5)
    await mdms.publish(Batch((record, day_record(0, 1, 6))))
    await mdms.compact()
    await mdms.publish(Batch((day_record(0, 2, 9),)))
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert list(CounterSet.from_bytes(mdms.consumed(record.session_id)).ranges()) == [(5, 6), (9, 9)]
    assert mdms.consumed(b"stranger") == b""
    await mdms.publish(Batch((record,)))
    assert mdms.counts().repeats == 1
    assert mdms.counts().readings == 72
    await mdms.close()


async def test_the_newest_state_of_a_meter_is_kept(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((day_record(0, 3, 4), day_record(0, 1, 2))))
    await mdms.settle()
    await mdms.publish(Batch((day_record(0, 2, 3),)))
    await mdms.settle()
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(meter_status)).all()
    assert (row.device_id, row.at) == (device(0), FIRST + 4 * DAY)
    assert mdms.status(device(0)) == Status(device(0), FIRST + 4 * DAY, "open", False, "0000")
    assert mdms.status(device(1)) is None
    await mdms.close()


async def test_a_bill_gets_its_boundaries_with_origin_and_evidence(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    for day in days(1, 2):
        await mdms.publish(Batch(tuple(day)))
    await mdms.settle()
    since, until = FIRST + DAY, FIRST + 2 * DAY
    registers = mdms.registers(point(0), MAIN, since, until)
    assert (int(registers.end_at[0]), int(registers.register[0])) == (since, register(0, since))
    assert int(registers.end_at[-1]) == until
    closing = mdms.evidence_at(point(0), MAIN, until)
    assert closing is not None
    assert (ORIGINS[registers.origin[-1]], closing.checked) == ("sealed", "signed")
    assert closing.register == int(registers.register[-1])
    assert [facts.sequence for facts in mdms.evidence_between(point(0), MAIN, since, until)] == [1, 2]
    assert mdms.evidence_at(point(0), MAIN, FIRST) is None
    await mdms.close()


async def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    value = 0x0102030405
    record = msgspec.structs.replace(
        day_record(0, 0, 1), series=(Series(device(0), MAIN, "m3", -2, FIRST + HOUR, 0, (value,)),)
    )
    await mdms.publish(Batch((record, day_record(9, 0, 1))))
    await mdms.publish(Batch((spot(0, FIRST + HOUR, value + 1, 2),)))
    mdms.findings()
    forms = [value.to_bytes(8, order)[cut] for order, cut in (("big", slice(3, 8)), ("little", slice(5)))]
    forms += [b"%d" % value, b"%d" % (value + 1), device(9) * 2]

    def nowhere() -> bool:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return not any(form in path.read_bytes() for path in files for form in forms)

    assert nowhere()
    await mdms.compact()
    await mdms.close()
    engine.dispose()
    assert nowhere()


async def test_two_processes_cannot_hold_one_store(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    with pytest.raises(LocalError) as caught:
        Mdms.open(tmp_path / "measurements", engine, keys(), each(lambda *_: True))
    assert caught.value.code == "mdms.locked"
    await mdms.close()


async def test_without_its_key_the_store_does_not_open_and_says_which(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((day_record(0, 0, 1),)))
    await mdms.close()
    from meterseal.crypto.handles import SymmetricKey

    other = KeyRing({2: SymmetricKey.generate("other")}, 2)
    with pytest.raises(TrustError, match="version 1"):
        Mdms.open(tmp_path / "measurements", engine, other, each(lambda *_: True))
    again = Mdms.open(tmp_path / "measurements", engine, keys(), each(lambda *_: True))
    assert again.counts().readings == 24
    await again.close()


async def test_a_full_disk_refuses_the_batch_and_everything_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await mdms.publish(Batch((day_record(0, 0, 1),)))

    def full(_: Journal, __: bytes) -> int:
        raise EngineError("mdms.full", "The disk is full. Free some space.")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        refused = await asyncio.gather(
            *(mdms.publish(Batch((day_record(0, day, day + 1),))) for day in (1, 2)), return_exceptions=True
        )
    assert [error.code for error in refused if isinstance(error, EngineError)] == ["mdms.full"] * 2
    assert mdms.counts().readings == 24
    assert 2 not in CounterSet.from_bytes(mdms.consumed(day_record(0, 1, 2).session_id))
    await mdms.publish(Batch((day_record(0, 1, 2),)))
    assert mdms.counts().readings == 48
    await mdms.close()


async def test_a_disk_that_fills_during_compaction_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, engine = open_store(tmp_path, 4)
    await mdms.publish(Batch(tuple(day_record(number, 0, 1) for number in range(4))))

    placed = []
    place = NewFile.place

    def fills(file: NewFile) -> None:
        if len(placed) == 2:
            raise EngineError("mdms.full", "The disk is full. Free some space.")
        placed.append(file)
        place(file)

    with monkeypatch.context() as patch:
        patch.setattr(NewFile, "place", fills)
        with pytest.raises(EngineError):
            await mdms.compact()
    assert list((tmp_path / "measurements" / "segments").iterdir()) == []
    assert mdms.counts().readings == 96
    assert len(mdms.registers(point(1), MAIN, 0, FIRST + DAY).end_at) == 24
    assert (await mdms.compact()).rows == 96
    await mdms.close()
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.sum(segments.c.rows))).scalar_one() == 96


@pytest.mark.parametrize("change", ["flip", "swap", "missing", "longer"])
async def test_a_changed_segment_is_found_and_named_and_the_rest_goes_on(tmp_path: Path, change: str) -> None:
    mdms, engine = open_store(tmp_path, 4)
    await mdms.publish(Batch(tuple(day_record(number, 0, 1) for number in range(4))))
    await mdms.compact()
    await mdms.close()
    engine.dispose()
    folder = tmp_path / "measurements" / "segments"
    (one,), (other,) = folder.glob("electricity-202610-*"), folder.glob("gas-202610-*")
    content, swapped = one.read_bytes(), other.read_bytes()
    changes = [content + b"\0"] if change == "longer" else [swapped]
    if change == "flip":
        changes = [
            content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]
            for at in range(0, len(content), 23)
        ]
    for changed in changes:
        one.write_bytes(changed)
        if change == "missing":
            one.unlink()
        elif change == "swap":
            other.write_bytes(content)
        mdms, engine = open_store(tmp_path)
        for number in (3, 1) if change == "swap" else (3,):
            with pytest.raises(DataError) as caught:
                mdms.registers(point(number), MAIN, 0, FIRST + DAY)
            assert caught.value.code == "mdms.segment-damaged"
            assert str(one if number == 3 else other) in str(caught.value)
        assert len(mdms.registers(point(2), MAIN, 0, FIRST + DAY).end_at) == 24
        await mdms.close()
        engine.dispose()
    mdms, engine = open_store(tmp_path)
    later = [msgspec.structs.replace(day_record(number, 1, 2), statuses=()) for number in range(4)]
    repeated = day_record(3, 0, 3)
    await mdms.publish(Batch((*later, repeated)))
    assert len(mdms.registers(point(3), MAIN, FIRST + DAY + HOUR, FIRST + 2 * DAY).end_at) == 24
    assert (
        await mdms.compact()
    ).rows == 4 * 24 + 20  # the block that reaches into the damaged one is kept anew
    await mdms.close()
    engine.dispose()
    one.write_bytes(content)
    other.write_bytes(swapped)
    mdms, _ = open_store(tmp_path)
    for number in range(4):
        shown = mdms.registers(point(number), MAIN, 0, FIRST + 2 * DAY)
        assert shown.register.tolist() == [register(number, FIRST + hour * HOUR) for hour in range(1, 49)]
    await mdms.close()


async def test_a_segment_under_a_forged_digest_still_does_not_open_elsewhere(tmp_path: Path) -> None:
    """Someone who can write the manifest, but has no key, moves a sealed file to another month."""
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((day_record(0, 0, 1), day_record(0, 25, 2))))
    await mdms.compact()
    await mdms.close()
    with write(engine) as connection:
        rows = connection.execute(sa.select(segments).order_by(segments.c.month)).all()
        assert len(rows) == 2
        connection.execute(
            segments.update()
            .where(segments.c.id == rows[0].id)
            .values(path=rows[1].path, digest=rows[1].digest, size=rows[1].size)
        )
    engine.dispose()
    mdms, _ = open_store(tmp_path)
    with pytest.raises(DataError) as caught:
        mdms.registers(point(0), MAIN, 0, FIRST + 30 * DAY)
    assert caught.value.code == "mdms.segment-damaged"
    await mdms.close()


async def test_the_background_work_compacts_and_checks_by_itself(tmp_path: Path) -> None:
    limits = Limits(recent_rows=200, idle_seconds=0.05, gather_seconds=0.0)
    mdms, _ = open_store(tmp_path, 4, limits)
    mdms.start()
    for day in days(4, 5):
        await mdms.publish(Batch(tuple(day)))
    for _ in range(200):
        await asyncio.sleep(0.02)
        if mdms.counts().evidence_good == 20 and any((tmp_path / "measurements" / "segments").iterdir()):
            break
    assert mdms.counts().evidence_good == 20
    assert any((tmp_path / "measurements" / "segments").iterdir())
    await mdms.close()
    with pytest.raises(EngineError):
        await mdms.publish(Batch())


async def _settles(mdms: Mdms, directory: Path, good: int) -> None:
    """Wait until everything lies in segments and the journal is empty."""
    for _ in range(200):
        await asyncio.sleep(0.02)
        if mdms.counts().evidence_good == good and not any((directory / "journal").iterdir()):
            break
    assert not any((directory / "journal").iterdir())
    assert any((directory / "segments").iterdir())


async def test_a_small_store_compacts_by_age(tmp_path: Path) -> None:
    """Far below the limits of rows and bytes nothing may lie in the journal for ever."""
    limits = Limits(age_seconds=0.3, idle_seconds=0.05, gather_seconds=0.0)
    mdms, _ = open_store(tmp_path, 1, limits)
    mdms.start()
    await mdms.publish(Batch(tuple(next(days(1, 1)))))
    await asyncio.sleep(0.1)
    assert any((tmp_path / "measurements" / "journal").iterdir())
    await _settles(mdms, tmp_path / "measurements", 1)
    await mdms.close()


async def test_what_a_start_had_to_replay_the_next_start_need_not(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 2)
    for day in days(2, 3):
        await mdms.publish(Batch(tuple(day)))
    counts = mdms.counts()
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path, limits=Limits(idle_seconds=0.05, gather_seconds=0.0))
    mdms.start()
    await _settles(mdms, tmp_path / "measurements", 6)
    await mdms.publish(Batch(tuple(next(days(2, 4)))))  # a repeat: the journal lies below every limit again
    await asyncio.sleep(0.2)
    assert any((tmp_path / "measurements" / "journal").iterdir())
    assert mdms.counts().readings == counts.readings
    await mdms.close()
    engine.dispose()


async def test_the_bytes_of_earlier_starts_count_towards_the_limit_of_the_journal(tmp_path: Path) -> None:
    """Entries without readings fill no memory: only their bytes bound what a start must read."""
    for _ in range(3):
        mdms, engine = open_store(tmp_path, 0)
        before = mdms._journal.size
        await mdms.publish(Batch(tuple(day_record(9, 0, 1) for _ in range(20))))
        after = mdms._journal.size
        on_disk = sum(path.stat().st_size for path in (tmp_path / "measurements" / "journal").iterdir())
        assert before < after == on_disk
        await mdms.close()
        engine.dispose()
    mdms, engine = open_store(tmp_path, 0)
    assert mdms._journal.size == on_disk
    await mdms.compact()
    assert mdms._journal.size == 0
    await mdms.close()


async def test_a_disk_that_stays_full_is_one_sentence_and_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(age_seconds=0.0, idle_seconds=0.01, gather_seconds=0.0)
    mdms, _ = open_store(tmp_path, 1, limits)
    compact, tries = mdms.compact, 0

    async def full() -> object:
        nonlocal tries
        tries += 1
        if tries <= 4:
            raise EngineError("mdms.full", "The disk is full. Free some space.")
        return await compact()

    monkeypatch.setattr(mdms._upkeep, "_works", Works(full, mdms.settle, mdms._troubles))
    with capture_logs() as logged:
        mdms.start()
        await mdms.publish(Batch(tuple(next(days(1, 1)))))
        await _settles(mdms, tmp_path / "measurements", 1)
        await asyncio.sleep(0.1)
    said = [(entry["event"], entry.get("message"), entry.get("times")) for entry in logged]
    assert said == [
        ("mdms.upkeep", "The disk is full. Free some space.", None),
        ("mdms.upkeep.over", None, 4),
    ]
    await mdms.close()
