"""Every change that somebody with the disk and the data keys makes by hand is found by `ledger verify`, with its place."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

from meterseal.control.sealed import EVIDENCE
from meterseal.control.tables import evidence, ledger_checkpoints, ledger_seeds, stores
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import DataError, EngineError, MetersealError, TrustError
from meterseal.mdms.bulk import Bulk
from meterseal.mdms.ledger import files, gathering, replay
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.leaves import Part, days_between, plaintext, read
from meterseal.mdms.ledger.salts import stated
from meterseal.mdms.ledger.verdict import Erasure, Verdict
from meterseal.mdms.store.manifest import BEGINS, IN_TIME
from meterseal.mdms.store.rows import Rows, Words
from meterseal.model import MAIN, Batch, Series
from meterseal.security.checkpoints import read as read_note
from meterseal.security.checkpoints import signed
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, batches, day_record, device, keys, open_store, point
from tests.mdms.insider import Insider
from tests.mdms.test_ledger import records
from tests.security.conftest import Bench, bench, cheap_stretching, clock, template

__all__ = ["bench", "cheap_stretching", "clock", "template"]

METERS, DAYS = 3, 4


class World:
    """A store with its ledger, and the security service that signs for it."""

    def __init__(self, root: Path, bench: Bench, meters: int = 0) -> None:
        self.root, self.bench = root, bench
        self.mdms, self.engine = open_store(root, meters)
        self.checkpoints = Checkpoints(self.engine, self.mdms.ledger, bench.platform)

    async def fill(self) -> None:
        """Two days compacted, a day in the journal under the second checkpoint, and one after it."""
        published = records(METERS, DAYS)
        for start, end in ((0, 2), (2, 3), (3, 4)):
            for batch in batches(published[start * 2 * METERS : end * 2 * METERS], 4):
                await self.mdms.publish(batch)
            if end == 2:
                await self.mdms.compact()
            if end < 4:
                await self.checkpoints.make()

    async def verdict(self, since: str = "") -> Verdict:
        return await self.mdms.audit(self.checkpoints, since)

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()


@pytest.fixture
async def world(tmp_path: Path, bench: Bench) -> World:
    made = World(tmp_path, bench, METERS)
    await made.fill()
    return made


async def attacked(
    world: World, attack: Callable[[Insider], object], since: str = "", erasures: Sequence[Erasure] = ()
) -> Verdict:
    """Stop, change something by hand, start again and verify."""
    await world.close()
    engine = control_at(world.root / "control.db")
    attack(Insider(world.root, engine))
    engine.dispose()
    again = World(world.root, world.bench)
    try:
        return await again.mdms.audit(again.checkpoints, since, erasures)
    finally:
        await again.close()


def codes(verdict: Verdict) -> set[str]:
    assert not verdict.good
    return {fault.code for fault in verdict.faults}


def says(verdict: Verdict, code: str, *words: str) -> bool:
    return any(
        fault.code == code and all(word in f"{fault.where} {fault.sentence}" for word in words)
        for fault in verdict.faults
    )


async def test_a_store_that_nobody_changed_is_good_before_and_after_every_restart(world: World) -> None:
    verdict = await world.verdict()
    assert verdict.faults == ()
    assert (verdict.leaves, verdict.covered) == (2 * METERS * DAYS, 2 * METERS * 3)
    assert (verdict.rows, verdict.channels, verdict.evidence) == (24 * METERS * DAYS, METERS, METERS * DAYS)
    assert (verdict.checkpoints, verdict.erased, verdict.since) == (2, 0, None)
    assert verdict.journal > 0
    assert (await attacked(world, lambda _: None)).good
    again = World(world.root, world.bench)
    await again.mdms.run_vee(FIRST + 30 * DAY)
    await again.mdms.compact()
    await again.checkpoints.make()
    verdict = await again.verdict()
    assert (verdict.faults, verdict.journal, verdict.covered) == ((), 0, verdict.leaves)
    await again.close()


# --- readings ----------------------------------------------------------------------------------------


async def test_a_register_changed_and_sealed_again_is_found(world: World) -> None:
    def cheaper(rows: Rows, words: Words) -> Rows:
        mine = rows["point"] == (words.known(point(1)) or -1)
        rows["register"][mine & (rows["end_at"] == FIRST + 30 * HOUR)] -= 7
        return rows

    verdict = await attacked(world, lambda insider: insider.change_rows(cheaper))
    assert codes(verdict) == {"reading"}
    assert says(verdict, "reading", point(1), f"end_at {FIRST + 30 * HOUR}", "register", "changed")
    assert len(verdict.faults) == 1


async def test_a_ledger_that_is_said_to_begin_later_than_its_checkpoints_say_hides_no_reading(
    world: World,
) -> None:
    """What lies before the ledger's beginning is compared with nothing."""

    def later(insider: Insider) -> None:
        insider.change_rows(cheaper_fifth)
        with insider.engine.begin() as connection:
            connection.execute(stores.update().values(ledger_from={BEGINS: 10**9, IN_TIME: 0}))

    verdict = await attacked(world, later)
    assert says(
        verdict, "control", "begin after entry 1000000000", "signed for one that begins after entry 0"
    )


async def test_where_the_ledger_begins_is_read_from_no_count(world: World) -> None:
    """Counts change all the time, so that no trail covers them."""

    def counted(insider: Insider) -> None:
        insider.change_rows(cheaper_fifth)
        with insider.engine.begin() as connection:
            connection.execute(
                stores.update().values(counts=insider.counts | {BEGINS: 10**9, IN_TIME: 10**9})
            )

    verdict = await attacked(world, counted)
    assert says(verdict, "reading", "register")


def cheaper_fifth(rows: Rows, words: Words) -> Rows:
    rows["register"][5] -= 1
    return rows


async def test_a_version_slipped_in_over_a_measured_reading_is_found(world: World) -> None:
    def edited(rows: Rows, words: Words) -> Rows:
        one = rows[(rows["point"] == (words.known(point(0)) or -1)) & (rows["end_at"] == FIRST + 5 * HOUR)]
        if not len(one):
            return rows
        one["version"], one["register"] = 2, 1
        one["method"] = words.code("linear/1:gap/1")
        return np.concatenate([rows, one])

    verdict = await attacked(world, lambda insider: insider.change_rows(edited))
    assert says(verdict, "reading", point(0), f"end_at {FIRST + 5 * HOUR}, version 2", "added")
    assert codes(verdict) == {"reading"}


async def test_a_segment_replaced_by_an_older_one_is_found(world: World) -> None:
    await world.mdms.compact()

    def older(insider: Insider) -> None:
        insider.change_rows(lambda rows, _: rows[rows["end_at"] <= FIRST + 2 * DAY])

    verdict = await attacked(world, older)
    assert codes(verdict) == {"reading"}
    assert says(verdict, "reading", point(2), f"end_at {FIRST + 2 * DAY + HOUR}", "removed")
    assert len(verdict.faults) + verdict.more == 2 * 24 * METERS


async def test_a_segment_that_does_not_open_is_named(world: World) -> None:
    def spoilt(insider: Insider) -> None:
        path = insider.measurements / "segments" / insider.segments[0].path
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")

    verdict = await attacked(world, spoilt)
    assert "segment" in codes(verdict)
    assert any(fault.where.endswith(".segment") for fault in verdict.faults)


# --- records -----------------------------------------------------------------------------------------


async def test_a_record_and_its_readings_changed_together_are_found(world: World) -> None:
    """Leaf, tree, reading: everything fits, and the checkpoint that was signed before does not."""

    def rewritten(insider: Insider) -> None:
        made = insider.leaves()
        leaf = read(made[0].plaintext)
        assert isinstance(leaf, Part)
        series = leaf.series[0]
        lower = msgspec.structs.replace(series, registers=(series.registers[0], *series.registers[1:]))
        first = lower.registers[0]
        assert first is not None
        lower = msgspec.structs.replace(lower, registers=(first - 1, *lower.registers[1:]))
        leaf = msgspec.structs.replace(leaf, series=(lower, *leaf.series[1:]))
        made[0] = msgspec.structs.replace(made[0], plaintext=plaintext(leaf))
        insider.rebuild(made)

        def same(rows: Rows, words: Words) -> Rows:
            mine = rows["point"] == (words.known(leaf.usage_point) or -1)
            rows["register"][mine & (rows["end_at"] == series.start_at)] -= 1
            return rows

        insider.change_rows(same)

    verdict = await attacked(world, rewritten)
    assert says(verdict, "checkpoint", "checkpoint 1", "changed, added or removed")
    assert says(verdict, "checkpoint", "checkpoint 2")
    assert says(verdict, "evidence", point(0), "chain-broken")
    assert not says(verdict, "reading")


async def test_what_a_leaf_is_made_of_changed_without_the_tree_is_found(world: World) -> None:
    def changed(insider: Insider) -> None:
        made = insider.leaves()
        made[5] = msgspec.structs.replace(made[5], digest=bytes(32))
        (path,) = (insider.measurements / "ledger").glob("*.leaves")
        from meterseal.mdms.ledger import files

        path.unlink()
        files.write_leaves(path.parent, insider.manifest.store_id, keys(), 0, made)

    verdict = await attacked(world, changed)
    assert codes(verdict) == {"leaf"}
    assert says(verdict, "leaf", "leaf 5, up-")


@pytest.mark.parametrize("kind", ["removed", "added"])
async def test_a_record_removed_or_added_with_a_tree_that_fits_is_found(world: World, kind: str) -> None:
    def other(insider: Insider) -> None:
        made = insider.leaves()
        insider.rebuild(made[:-1] if kind == "removed" else [*made[:3], made[2], *made[3:]])

    verdict = await attacked(world, other)
    assert says(verdict, "checkpoint", "checkpoint 1", "changed, added or removed" if kind == "added" else "")
    assert "checkpoint" in codes(verdict)


async def test_the_tree_cut_short_and_built_anew_is_found(world: World) -> None:
    verdict = await attacked(world, lambda insider: insider.rebuild(insider.leaves()[:4]))
    assert says(verdict, "checkpoint", "checkpoint 1")


async def test_hashes_changed_in_the_tree_are_found(world: World) -> None:
    verdict = await attacked(world, lambda insider: insider.swap_leaf_hash(3))
    assert says(verdict, "leaf", "leaf 3, up-")
    assert says(verdict, "checkpoint", "checkpoint 1")


async def test_an_inner_hash_changed_in_the_tree_is_found(world: World) -> None:
    def flipped(insider: Insider) -> None:
        path = insider.measurements / "ledger" / "tree"
        content = bytearray(path.read_bytes())
        content[2 * 32] ^= 1  # the node over leaves 0 and 1
        path.write_bytes(content)

    assert says(await attacked(world, flipped), "tree", "leaves 0 to 1")


# --- journal -----------------------------------------------------------------------------------------


async def test_a_journal_cut_at_the_edge_of_an_entry_is_found(world: World) -> None:
    """The control store was told to know nothing of it; the checkpoint knows better."""
    verdict = await attacked(world, Insider.cut_journal)
    assert says(verdict, "checkpoint", "checkpoint 2", "cut off")


async def test_a_journal_cut_or_changed_under_the_running_system_is_found(world: World) -> None:
    path, at = Insider(world.root, world.engine).journal_frames()[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:at])
    assert says(await world.verdict(), "journal", "cut off")
    path.write_bytes(whole[: at + 40])
    assert says(await world.verdict(), "journal", "middle of an entry")
    path.unlink()
    assert says(await world.verdict(), "journal", "is gone, with as many entries as it had")
    path.write_bytes(whole)
    assert (await world.verdict()).good
    await world.close()


# --- evidence ----------------------------------------------------------------------------------------


async def test_evidence_taken_away_changed_or_called_good_is_found(world: World) -> None:
    await world.mdms.settle()

    def three(insider: Insider) -> None:
        with insider.engine.begin() as connection:
            rows = connection.execute(sa.select(evidence).order_by(evidence.c.device_id)).mappings().all()
            gone, altered, recoloured = dict(rows[0]), dict(rows[DAYS]), dict(rows[2 * DAYS])
            same = [evidence.c.device_id, evidence.c.channel, evidence.c.sequence]

            def of(row: dict[str, object]) -> sa.ColumnElement[bool]:
                return sa.and_(*(column == row[column.name] for column in same))

            connection.execute(evidence.delete().where(of(gone)))
            opened = bytearray(EVIDENCE.open(keys(), altered) or b"")
            opened[20] ^= 1
            altered["sealed_statement"] = bytes(opened)
            connection.execute(evidence.update().where(of(altered)).values(**EVIDENCE.seal(keys(), altered)))
            connection.execute(evidence.update().where(of(recoloured)).values(checked="bad"))

    verdict = await attacked(world, three)
    assert codes(verdict) == {"evidence"}
    assert says(verdict, "evidence", device(0).hex(), "removed")
    assert says(verdict, "evidence", point(1), "changed or added")
    assert says(verdict, "evidence", point(2), "kept as bad", "it is signed")


async def test_evidence_moved_to_where_nobody_looks_for_it_is_found(world: World) -> None:
    """The statement is whole, and a bill that asks for the register of its day would say that nobody signed it."""

    def moved(insider: Insider) -> None:
        with insider.engine.begin() as connection:
            connection.execute(
                evidence.update()
                .where(evidence.c.usage_point == point(0), evidence.c.sequence == 2)
                .values(end_at=evidence.c.end_at + HOUR)
            )
            connection.execute(
                evidence.update()
                .where(evidence.c.usage_point == point(1), evidence.c.sequence == 1)
                .values(usage_point=point(2))
            )

    verdict = await attacked(world, moved)
    assert codes(verdict) == {"evidence"}
    assert says(verdict, "evidence", point(0), "sequence 2", "nobody who asks")
    assert says(verdict, "evidence", point(2), "sequence 1")


# --- checkpoints -------------------------------------------------------------------------------------


def set_note(engine: sa.Engine, number: int, note: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            ledger_checkpoints.update().where(ledger_checkpoints.c.number == number).values(note=note)
        )


async def test_a_checkpoint_replaced_is_found(world: World) -> None:
    notes = dict(world.checkpoints.every())
    other = msgspec.structs.replace(read_note(notes[1]), root=bytes(32))
    stranger = Sm2PrivateKey.generate("not the ledger's")
    forged = signed(other, stranger.public_point, stranger.sign(other.text().encode()))
    verdict = await attacked(world, lambda insider: set_note(insider.engine, 1, forged))
    assert says(verdict, "checkpoint", "checkpoint 1", "not signed by the ledger's key")
    swapped = await attacked(
        World(world.root, world.bench), lambda insider: set_note(insider.engine, 1, notes[2])
    )
    assert says(swapped, "checkpoint", "checkpoint 1", "Checkpoint 2 stands in its place")


@pytest.mark.parametrize("number", [1, 2])
async def test_a_checkpoint_dropped_is_found(world: World, number: int) -> None:
    def drop(insider: Insider) -> None:
        with insider.engine.begin() as connection:
            connection.execute(ledger_checkpoints.delete().where(ledger_checkpoints.c.number == number))

    assert says(await attacked(world, drop), "checkpoint", "checkpoint 2", "dropped")


async def test_two_trees_are_never_signed(world: World) -> None:
    """The platform itself may turn: the service signs only what follows from what it signed."""
    await world.close()
    engine = control_at(world.root / "control.db")
    insider = Insider(world.root, engine)
    insider.rebuild([*insider.leaves()[:2], *insider.leaves()[3:]])
    engine.dispose()
    again = World(world.root, world.bench)
    with pytest.raises(DataError) as changed:
        await again.checkpoints.make()
    assert changed.value.code == "mdms.ledger-changed"
    await again.close()


async def test_yesterdays_copy_of_everything_is_found_with_a_checkpoint_kept_elsewhere(
    tmp_path: Path, bench: Bench
) -> None:
    """Platform and keys are put back together, so that both agree; the checkpoint on a USB stick does not."""
    world = World(
        tmp_path / "platform" if (tmp_path / "platform").mkdir() is None else tmp_path, bench, METERS
    )
    published = records(METERS, DAYS)
    await world.mdms.publish(batches(published, 12)[0])
    await world.checkpoints.make()
    await world.close()
    bench.service.close()
    shutil.copytree(tmp_path / "platform", tmp_path / "yesterday")
    shutil.copytree(bench.directory, tmp_path / "keys-yesterday")
    world = World(world.root, bench.restarted_from_closed())
    await world.mdms.publish(batches(published, 12)[1])
    elsewhere = await world.checkpoints.make()
    assert (await world.verdict(elsewhere)).good
    await world.close()
    world.bench.service.close()
    shutil.rmtree(tmp_path / "platform")
    shutil.move(tmp_path / "yesterday", tmp_path / "platform")
    shutil.rmtree(bench.directory)
    shutil.move(tmp_path / "keys-yesterday", bench.directory)
    again = World(tmp_path / "platform", bench.restarted_from_closed())
    assert (await again.verdict()).good, "nothing inside can show it"
    verdict = await again.verdict(elsewhere)
    assert says(verdict, "checkpoint", "kept elsewhere", "put back to an older copy")
    with pytest.raises(TrustError) as stranger:
        await again.verdict(elsewhere.replace("time 1", "time 2"))
    assert stranger.value.code == "ledger.signature"
    await again.close()


async def test_a_checkpoint_of_another_history_of_the_same_size_is_found(world: World) -> None:
    elsewhere = await world.checkpoints.make()
    checkpoint = read_note(elsewhere)
    service = world.bench.service.room
    other = msgspec.structs.replace(checkpoint, root=bytes(32))
    key = service.authorities.signing("LEDGER")
    forged = signed(other, key.public_point, key.sign(other.text().encode()))
    verdict = await world.verdict(forged)
    assert says(verdict, "checkpoint", "kept elsewhere", "not those")
    await world.close()


# --- what is no attack -------------------------------------------------------------------------------


async def test_an_erased_person_leaves_everything_verifiable(world: World) -> None:
    await world.mdms.compact()
    await world.checkpoints.make()
    days = days_between(FIRST, FIRST + 2 * DAY)
    world.mdms.ledger.destroy(point(0), *days)
    verdict = await world.mdms.audit(world.checkpoints, "", [Erasure(point(0), *days)])
    assert (verdict.faults, verdict.erased) == ((), 4)
    verdict = await attacked(world, lambda insider: insider.swap_leaf_hash(0))
    assert says(verdict, "checkpoint")


async def test_another_leaf_made_out_to_be_an_erased_persons_is_found(world: World) -> None:
    """Without a salt of its own it would be compared with nothing, and say whatever the insider likes."""
    await world.mdms.compact()
    await world.checkpoints.make()
    days = days_between(FIRST, FIRST + 2 * DAY)
    world.mdms.ledger.destroy(point(0), *days)
    gone = [Erasure(point(0), *days)]

    def relabel(insider: Insider) -> None:
        made = insider.leaves()
        number, mine = next(
            (at, one)
            for at, one in enumerate(made)
            if read(one.plaintext).owner == point(1) and one.day > days[1]
        )
        leaf = read(mine.plaintext)
        assert isinstance(leaf, Part)
        other = msgspec.structs.replace(leaf, usage_point=point(0), day=days[0])
        made[number] = msgspec.structs.replace(mine, day=days[0], plaintext=plaintext(other))
        files.write_leaves(insider.measurements / "ledger", insider.manifest.store_id, keys(), 0, made)

    verdict = await attacked(world, relabel, erasures=gone)
    assert says(verdict, "salt", point(0), "4 leaves lost", "5 are said")


async def test_leaves_that_come_for_erased_days_and_a_second_erasure_are_no_accusation(world: World) -> None:
    await world.mdms.compact()
    days = days_between(FIRST, FIRST + 2 * DAY)
    ledger = world.mdms.ledger
    ledger.destroy(point(0), *days)
    gone = [Erasure(point(0), *days)]
    late = Series(device(0), MAIN + 1, "m3", -2, FIRST + HOUR // 2, HOUR, (5,))
    record = msgspec.structs.replace(day_record(0, DAYS, 900), series=(late,), statuses=())
    await world.mdms.publish(Batch((record,)))
    await world.mdms.compact()
    await world.checkpoints.make()
    assert [(one.leaves, one.size) for one in stated(world.engine)] == [(4, ledger.size - 1)]
    verdict = await world.mdms.audit(world.checkpoints, "", gone)
    assert (verdict.faults, verdict.erased) == ((), 4)
    ledger.destroy(point(0), *days)
    ledger.destroy(point(0), *days)
    assert [one.leaves for one in stated(world.engine)] == [4, 1, 0]
    verdict = await world.mdms.audit(world.checkpoints, "", gone)
    assert (verdict.faults, verdict.erased) == ((), 5)
    await world.close()


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        (evidence.update().where(evidence.c.sequence == 2).values(sealed_statement=b"x" * 200), "evidence"),
        (evidence.update().where(evidence.c.sequence == 2).values(key_version=9), "evidence"),
        (stores.update().values(sealed_mark=b"x" * 80), "control"),
        (sa.text("UPDATE stores SET counts = 'x'"), "control"),
        (sa.text("UPDATE stores SET counts = '1'"), "control"),
        (sa.text("UPDATE stores SET sequence = 'x'"), "control"),
        (sa.text("UPDATE stores SET journal_ended = x'00'"), "control"),
        (sa.text("UPDATE ledger_checkpoints SET note = 7 WHERE number = 2"), "checkpoint"),
        (
            evidence.update().where(evidence.c.sequence == 2).values(sealed_statement=sa.text("'text'")),
            "evidence",
        ),
        (evidence.update().where(evidence.c.sequence == 2).values(module_id=sa.text("1.5")), "evidence"),
        (
            evidence.update().where(evidence.c.sequence == 2).values(received_at=sa.text("'never'")),
            "evidence",
        ),
    ],
)
async def test_what_does_not_open_any_more_is_named_beside_all_other_faults(
    world: World, statement: sa.Executable, code: str
) -> None:
    """One value spoilt would else hide every other change from whoever verifies."""
    with world.engine.begin() as connection:
        connection.execute(statement)
        connection.execute(ledger_checkpoints.delete().where(ledger_checkpoints.c.number == 1))
    assert codes(await world.verdict()) >= {code, "checkpoint"}
    await world.close()


async def test_a_tree_that_is_gone_is_named_beside_readings_that_were_changed(world: World) -> None:
    def cheaper(rows: Rows, words: Words) -> Rows:
        rows["register"][rows["end_at"] == FIRST + 30 * HOUR] -= 7
        return rows

    await world.close()
    engine = control_at(world.root / "control.db")
    Insider(world.root, engine).change_rows(cheaper)
    engine.dispose()
    again = World(world.root, world.bench)
    (world.root / "measurements" / "ledger" / "tree").write_bytes(b"")
    assert codes(await again.verdict()) == {"tree", "reading"}
    await again.close()


async def test_salts_that_went_without_a_person_are_found(world: World) -> None:
    """Without its salts a leaf says anything, and so do the readings that follow from it."""
    first, last = days_between(FIRST, FIRST + 2 * DAY)
    await world.mdms.compact()
    await world.checkpoints.make()
    world.mdms.ledger.destroy(point(0), first, last)
    assert says(await world.verdict(), "salt", point(0), "4 leaves")
    for other in (Erasure(point(1), first, last), Erasure(point(0), first, last - 1)):
        verdict = await world.mdms.audit(world.checkpoints, "", [other])
        assert says(verdict, "salt", point(0))
    verdict = await attacked(world, lambda insider: set_seeds(insider.engine, ledger_seeds.delete()))
    assert codes(verdict) == {"salt"}
    assert {fault.where for fault in verdict.faults} == {point(meter) for meter in range(METERS)}


async def test_salts_that_were_changed_are_found_and_all_others_are_still_compared(world: World) -> None:
    await world.mdms.compact()
    await world.checkpoints.make()
    seed = sa.select(ledger_seeds.c.sealed_nodes).where(ledger_seeds.c.usage_point == point(1))
    swap = ledger_seeds.update().where(ledger_seeds.c.usage_point == point(0))
    verdict = await attacked(
        world, lambda insider: set_seeds(insider.engine, swap.values(sealed_nodes=seed.scalar_subquery()))
    )
    assert codes(verdict) == {"salt"}
    assert [fault.where for fault in verdict.faults] == [point(0)]


def set_seeds(engine: sa.Engine, change: sa.Delete | sa.Update) -> None:
    with engine.begin() as connection:
        connection.execute(change)


async def test_a_store_from_before_there_was_a_ledger_begins_one_and_says_so(
    tmp_path: Path, bench: Bench
) -> None:
    from meterseal.control.tables import stores

    world = World(tmp_path, bench, METERS)
    published = batches(records(METERS, DAYS), 12)
    await world.mdms.publish(published[0])
    await world.mdms.compact()
    sequence = world.mdms._manifest.sequence
    await world.close()
    shutil.rmtree(tmp_path / "measurements/ledger")
    engine = control_at(tmp_path / "control.db")
    with engine.begin() as connection:
        counts = dict(connection.execute(sa.select(stores.c.counts)).scalar_one())
        connection.execute(
            stores.update().values(
                counts={k: v for k, v in counts.items() if k != "leaves"}, ledger_from=None
            )
        )
    engine.dispose()
    world = World(tmp_path, bench)
    await world.mdms.publish(published[1])
    await world.mdms.compact()
    checkpoint = read_note(await world.checkpoints.make())
    assert (checkpoint.size, checkpoint.begins) == (12, sequence)
    verdict = await world.verdict()
    assert verdict.faults == ()
    assert verdict.rows == 24 * METERS * DAYS
    assert MAIN == 1
    await world.close()


async def test_a_checkpoint_is_made_once_for_a_size_and_adopted_when_a_crash_kept_it_away(
    world: World,
) -> None:
    note = await world.checkpoints.make()
    assert await world.checkpoints.make() == note
    with world.engine.begin() as connection:
        connection.execute(ledger_checkpoints.delete().where(ledger_checkpoints.c.number == 3))
    assert world.checkpoints.newest() != note
    assert await world.checkpoints.make() == note == world.checkpoints.newest()
    await world.close()


async def refused(call: object) -> str:
    try:
        await call  # type: ignore[misc]
    except MetersealError as error:
        return error.code
    return ""


async def test_a_ledger_put_back_begins_again_only_by_two_officers(world: World) -> None:
    await world.close()
    engine = control_at(world.root / "control.db")
    Insider(world.root, engine).cut_journal()
    engine.dispose()
    again = World(world.root, world.bench)
    assert await refused(again.checkpoints.make()) == "mdms.ledger-cut"
    ledgering = next(
        desk._ledgering  # type: ignore[attr-defined]
        for desk in world.bench.service._desks
        if type(desk).__name__ == "LedgerDesk"
    )
    from meterseal.security.ledgerorders import LedgerReset

    ledgering.reset(LedgerReset(request_id=b"", not_after=0, project_id=b"", reason="disk of 3 May"))
    note = read_note(await again.checkpoints.make())
    assert (note.number, note.reset, note.size) == (3, 2, 2 * METERS * 2)
    assert (await again.verdict()).good
    assert await refused(again.checkpoints.make()) == ""
    await again.close()


async def test_readings_that_came_as_columns_are_covered_whatever_share_they_are_compared_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = np.array([FIRST + (DAYS + 2) * DAY + hour * HOUR for hour in range(6)] * 2)
    bulk = Bulk(
        "water",
        "sealed",
        True,
        int(at.max()) + HOUR,
        (point(0),),
        ("m3",),
        np.zeros(12, np.int8),
        np.ones(12, np.int8),
        at + np.repeat([0, DAY], 6),
        np.arange(12) + 5000,
        np.full(12, -2, np.int8),
        np.zeros(12, np.int8),
        np.zeros(12, np.bool_),
    )
    await world.mdms.append(bulk)
    assert (await world.verdict()).good
    await world.mdms.compact()
    monkeypatch.setattr(replay, "SHARE_ROWS", 50)
    for packed, passes in ((gathering.PACKED, 1), (1, 6), (0, 6)):
        monkeypatch.setattr(gathering, "PACKED", packed)
        assert [len(here) for here in gathering.groups(world.mdms.ledger, 6)] == [6 // passes] * passes
        verdict = await world.verdict()
        assert (verdict.faults, verdict.rows) == ((), 24 * METERS * DAYS + 12)

    def cheaper(rows: Rows, words: Words) -> Rows:
        rows["register"][rows["end_at"] == at[3]] -= 1
        return rows

    verdict = await attacked(world, lambda insider: insider.change_rows(cheaper))
    assert codes(verdict) == {"reading"}
    assert says(verdict, "reading", point(0), f"end_at {at[3]}", "register")


async def test_leaves_of_shares_are_packed_in_memory_and_come_out_as_they_went_in(world: World) -> None:
    every = list(world.mdms.ledger.every(world.mdms.ledger.take_up()))
    many = [(number, every[number % len(every)][1]) for number in range(5000)]
    shares = gathering.Shares([point(number) for number in range(METERS)], 3)
    found = gathering.Gathered(iter(many), range(3), shares)
    held = [list(found.of(share)) for share in range(3)]
    assert sorted(one for share in held for one in share) == many
    for share, here in enumerate(held):
        assert here == sorted(here)
        assert all(shares.of(read(one.plaintext).owner) == share for _, one in here)
    assert max(map(len, held)) > 1024, "a batch and more"
    await world.close()


async def test_what_comes_while_everything_is_walked_over_is_no_fault(world: World) -> None:
    """Records, their evidence and its check go on beside the walk; what it began with is what it judges."""
    more = records(METERS, DAYS + 3)[2 * METERS * DAYS :]
    world.mdms.start()

    async def publish() -> None:
        for batch in batches(more, 1):
            await world.mdms.publish(batch)
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    for _ in range(3):
        assert (await world.verdict()).faults == ()
    await publishing
    await world.mdms.settle()
    verdict = await world.verdict()
    assert (verdict.faults, verdict.leaves) == ((), 2 * METERS * (DAYS + 3))
    await world.close()


async def test_evidence_that_waits_for_its_check_is_not_called_removed(world: World) -> None:
    class Away:
        async def verify(self, statements: object) -> object:
            raise EngineError("security.away", "The security service is away.")

    await world.mdms.settle()
    world.mdms._evidence._verifier = Away()  # type: ignore[assignment]
    await world.mdms.publish(Batch(tuple(records(METERS, DAYS + 1)[2 * METERS * DAYS :])))
    with pytest.raises(EngineError):
        await world.verdict()
    assert world.mdms._state.pending
    async with world.mdms._compacting, world.mdms._checking:
        walk = world.mdms._walk(world.checkpoints)
        assert (await walk.run()).faults == ()
    await world.close()


def early_then_in_time(counter: int, hour: int) -> list[Batch]:
    """What a meter says of an hour that has not come, and of the same hour once it has."""

    def said(number: int, register: int, received_at: int) -> Batch:
        series = (Series(device(0), MAIN, "m3", -2, FIRST + hour * HOUR, HOUR, (register,)),)
        made = msgspec.structs.replace(day_record(0, 0, number), series=series, received_at=received_at)
        return Batch((made,))

    return [
        said(counter, 9_000_000, FIRST + (hour - 20) * HOUR),
        said(counter + 1, 5_000, FIRST + (hour + 1) * HOUR),
    ]


async def test_what_was_taken_in_before_readings_of_the_future_gave_way_is_no_accusation(
    tmp_path: Path, bench: Bench
) -> None:
    world = World(tmp_path, bench, 1)
    world.mdms._ingest.in_time = False  # as the program before did
    for batch in early_then_in_time(1, 500):
        await world.mdms.publish(batch)
    await world.mdms.compact()
    await world.close()
    engine = control_at(tmp_path / "control.db")
    with engine.begin() as connection:
        assert connection.execute(sa.select(stores.c.ledger_from)).scalar_one()[IN_TIME] == 0
        connection.execute(stores.update().values(ledger_from={BEGINS: 0}))
    engine.dispose()
    for hour in (510, 520):
        world = World(tmp_path, bench)
        assert (await world.verdict()).good
        for batch in early_then_in_time(hour, hour):
            await world.mdms.publish(batch)
        assert (await world.verdict()).good
        await world.mdms.compact()
        assert world.mdms.registers(point(0), MAIN, 0, FIRST + 600 * HOUR).register.tolist()[0] == 9_000_000
        assert (await world.verdict()).good
        await world.close()
    world = World(tmp_path, bench)
    shown = world.mdms.registers(point(0), MAIN, 0, FIRST + 600 * HOUR)
    assert shown.register.tolist() == [9_000_000, 5_000, 5_000]
    await world.close()
