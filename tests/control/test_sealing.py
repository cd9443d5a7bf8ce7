"""Sealed columns: every attempt to move, swap, age or read a value without its key fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import open_control, read, write
from meterseal.control.classes import CLASSES, Hashed, Public, Sealed, Wrapped
from meterseal.control.rings import begin_version, end_versions, open_ring
from meterseal.control.sealed import CONCENTRATORS, CUSTOMERS, METERS, UNDER
from meterseal.control.sealing import VERSION, KeyRing
from meterseal.control.tables import concentrators, data_keys, metadata
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import TrustError
from meterseal.places import place
from tests.utility.twins import MemoryKeys

NAME = "3 号楼 2 单元"


def ring(*versions: int) -> KeyRing:
    return KeyRing({one: SymmetricKey.generate(f"key {one}") for one in versions}, max(versions))


def master(number: int) -> bytes:
    return b"\xf0" + number.to_bytes(7)


def add(engine: sa.Engine, keys: KeyRing, *numbers: int) -> None:
    with write(engine) as connection:
        for number in numbers:
            row = {"device_id": master(number), "sealed_name": f"{NAME} {number}".encode()}
            connection.execute(concentrators.insert().values(CONCENTRATORS.seal(keys, row)))


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_control(tmp_path / "control.db")


def rows(engine: sa.Engine) -> list[sa.Row[tuple[object, ...]]]:
    with read(engine) as connection:
        return list(connection.execute(sa.select(concentrators).order_by(concentrators.c.device_id)).all())


# --- the declaration ---------------------------------------------------------------------------------


def test_every_column_of_every_table_is_declared_and_no_other() -> None:
    assert {name: set(table.c.keys()) for name, table in metadata.tables.items()} == {
        name: set(columns) for name, columns in CLASSES.items()
    }


def test_every_clear_column_says_why_and_every_sealed_one_has_a_codec() -> None:
    sealed = set()
    for table, columns in CLASSES.items():
        for column, kind in columns.items():
            if isinstance(kind, Sealed):
                sealed.add((table, column))
            elif isinstance(kind, Public | Hashed):
                assert len(kind.why) > 10, (table, column)
            else:
                assert isinstance(kind, Wrapped)
                assert isinstance(metadata.tables[table].c[column].type, sa.LargeBinary)
    tables = [CUSTOMERS, *(one for ring in UNDER.values() for one in ring)]
    assert sealed == {(one.table.name, column) for one in tables for column in one.columns}


def test_every_sealed_table_can_hold_ciphertext_and_its_version() -> None:
    for table in (one for tables in UNDER.values() for one in tables):
        assert isinstance(table.table.c[VERSION].type, sa.Integer)
        for column in table.columns:
            assert isinstance(table.table.c[column].type, sa.LargeBinary)


# --- the seal ----------------------------------------------------------------------------------------


def test_a_name_is_not_in_the_file_and_opens_in_its_row(engine: sa.Engine, tmp_path: Path) -> None:
    keys = ring(1)
    add(engine, keys, 1)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert master(1) in stored
    assert NAME.encode() not in stored
    assert CONCENTRATORS.open(keys, rows(engine)[0]) == f"{NAME} 1".encode()


@pytest.mark.parametrize("attack", ["row", "column", "table", "version", "bit", "cut", "empty"])
def test_a_sealed_value_opens_in_its_own_place_alone(attack: str) -> None:
    keys = ring(1, 2)
    row = CONCENTRATORS.seal(keys, {"device_id": master(1), "sealed_name": b"name"})
    sealed = row["sealed_name"]
    moved = {
        "row": (CONCENTRATORS, row | {"device_id": master(2)}),
        "column": (METERS, row | {"sealed_parameters": sealed}),
        "table": (METERS, {"device_id": master(1), "sealed_parameters": sealed, VERSION: 2}),
        "version": (CONCENTRATORS, row | {VERSION: 1}),
        "bit": (CONCENTRATORS, row | {"sealed_name": sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:]}),
        "cut": (CONCENTRATORS, row | {"sealed_name": sealed[:-1]}),
        "empty": (CONCENTRATORS, row | {"sealed_name": b""}),
    }[attack]
    with pytest.raises(TrustError) as caught:
        moved[0].open(keys, moved[1])
    assert caught.value.code == "crypto.tag"
    assert CONCENTRATORS.open(keys, row) == b"name"


def test_an_unknown_version_is_named_and_opens_nothing() -> None:
    row = CONCENTRATORS.seal(ring(3), {"device_id": master(1), "sealed_name": b"name"})
    with pytest.raises(TrustError) as caught:
        CONCENTRATORS.open(ring(1), row)
    assert (caught.value.code, caught.value.facts) == ("sealing.key", {"version": 3})


def test_nothing_to_seal_has_no_version() -> None:
    row = METERS.seal(ring(1), {"device_id": master(1), "sealed_parameters": None})
    assert row[VERSION] is None
    assert METERS.open(ring(1), row) is None


def test_no_two_places_share_their_associated_data() -> None:
    near = [
        place("customers", "c1", "name"),
        place("customers", "c1", "address"),
        place("customers", "c", "1name"),
        place("customersc", "1", "name"),
        place("customers", b"c1n", "ame"),
        place("customers", "c1", "", "name"),
        place("evidence", 1, 256),
        place("evidence", 256, 1),
    ]
    assert len(set(near)) == len(near)


def test_a_ring_seals_only_under_a_key_it_has() -> None:
    with pytest.raises(TrustError) as caught:
        KeyRing({1: SymmetricKey.generate("key")}, 2)
    assert caught.value.code == "sealing.key"


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_does_not_rise_is_refused(version: int) -> None:
    keys = ring(2)
    with pytest.raises(TrustError) as caught:
        keys.add(version, SymmetricKey.generate("old"))
    assert caught.value.code == "sealing.version"
    assert keys.version == 2


def test_the_version_that_seals_does_not_end() -> None:
    keys = ring(1, 2)
    with pytest.raises(TrustError) as caught:
        keys.end(2)
    assert caught.value.code == "sealing.version"
    keys.end(1)
    assert keys.versions == (2,)


def test_a_ring_shows_no_key() -> None:
    assert repr(ring(1, 2)) == "KeyRing(versions=(1, 2))"


# --- rotation ----------------------------------------------------------------------------------------


async def test_rows_move_in_steps_to_exactly_zero_and_the_old_key_is_refused(engine: sa.Engine) -> None:
    source = MemoryKeys()
    keys = await open_ring(engine, "fleet", source, 1)
    add(engine, keys, *range(25))
    before = rows(engine)
    await begin_version(engine, "fleet", keys, source, 2)
    counts = []
    while True:
        with write(engine) as connection:
            counts.append(CONCENTRATORS.remaining(connection, keys.version))
            if not CONCENTRATORS.move(connection, keys, 10):
                break
    assert counts == [25, 15, 5, 0]
    assert end_versions(engine, "fleet", keys, UNDER["fleet"]) == 1
    after = rows(engine)
    assert len(after) == len(before) == 25
    assert [CONCENTRATORS.open(keys, row) for row in after] == [f"{NAME} {n}".encode() for n in range(25)]
    with pytest.raises(TrustError) as caught:
        CONCENTRATORS.open(keys, before[0])
    assert caught.value.code == "sealing.key"
    with read(engine) as connection:
        assert connection.execute(sa.select(data_keys.c.version)).scalars().all() == [2]
    again = await open_ring(engine, "fleet", source, 3)
    assert CONCENTRATORS.open(again, after[0]) == f"{NAME} 0".encode()


async def test_a_key_that_a_row_still_needs_is_not_ended(engine: sa.Engine) -> None:
    source = MemoryKeys()
    keys = await open_ring(engine, "fleet", source, 1)
    add(engine, keys, 1)
    await begin_version(engine, "fleet", keys, source, 2)
    assert end_versions(engine, "fleet", keys, UNDER["fleet"]) == 0
    assert keys.versions == (1, 2)
    assert CONCENTRATORS.open(keys, rows(engine)[0]) is not None


async def test_a_step_that_is_cut_off_leaves_every_row_as_it_was(engine: sa.Engine) -> None:
    source = MemoryKeys()
    keys = await open_ring(engine, "fleet", source, 1)
    add(engine, keys, *range(6))
    await begin_version(engine, "fleet", keys, source, 2)
    before = rows(engine)

    def cut_off() -> None:
        with write(engine) as connection:
            CONCENTRATORS.move(connection, keys, 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert rows(engine) == before


async def test_a_damaged_row_stops_the_step_and_is_not_sealed_anew(engine: sa.Engine) -> None:
    source = MemoryKeys()
    keys = await open_ring(engine, "fleet", source, 1)
    add(engine, keys, 1)
    await begin_version(engine, "fleet", keys, source, 2)
    with write(engine) as connection:
        connection.execute(concentrators.update().values(sealed_name=b"\0" * 40))
    before = rows(engine)

    def step() -> None:
        with write(engine) as connection:
            CONCENTRATORS.move(connection, keys, 10)

    with pytest.raises(TrustError):
        step()
    assert rows(engine) == before
    assert end_versions(engine, "fleet", keys, UNDER["fleet"]) == 0
