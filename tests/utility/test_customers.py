"""Names and addresses: sealed in their place, opened for one request, gone with their key."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.tables import customers
from meterseal.errors import LocalError, TrustError
from meterseal.people.erasure import erase
from meterseal.utility.customers import NewCustomer, Person
from tests.utility.conftest import ADDRESS, NAME, Town
from tests.utility.twins import day

NOW = day("2026-06-01")


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_person_opens_for_a_request(town: Town) -> None:
    person = await town.utility.customers.open("c1")
    assert person is not None
    assert (person.name, person.address) == (NAME, ADDRESS)


async def test_every_request_asks_the_security_service_anew(town: Town) -> None:
    before = town.keys.opened
    await town.utility.customers.open("c1")
    await town.utility.customers.open("c1")
    assert town.keys.opened == before + 2


async def test_no_name_is_on_disk(town: Town, tmp_path: Path) -> None:
    assert b"c1" in files(tmp_path)
    assert NAME.encode() not in files(tmp_path)
    assert ADDRESS.encode() not in files(tmp_path)


async def test_no_name_prints_logs_pickles_or_serialises(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    person = await town.utility.customers.open("c1")
    new = NewCustomer(Person(NAME, ADDRESS))
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%r %s %r", person, person, new)
    shown = caplog.text + f"{person} {new!r}"
    assert NAME not in shown
    assert ADDRESS not in shown
    for refuse in (pickle.dumps, msgspec.json.encode, json.dumps):
        with pytest.raises(TypeError):
            refuse(person)


@pytest.mark.parametrize("wrong", ["row", "field", "bytes"])
async def test_a_sealed_field_opens_in_its_own_place_alone(town: Town, wrong: str) -> None:
    await town.utility.customers.add(NewCustomer(Person("李若溪", "别处"), "c2"), NOW)
    with write(town.engine) as connection:
        rows = {row.id: row for row in connection.execute(sa.select(customers)).all()}
        mine = rows["c1"]
        values = {
            "row": {"name": rows["c2"].name, "wrapped_key": rows["c2"].wrapped_key},
            "field": {"name": mine.address},
            "bytes": {"name": mine.name[:-1] + bytes((mine.name[-1] ^ 1,))},
        }[wrong]
        connection.execute(sa.update(customers).where(customers.c.id == "c1").values(**values))
    with pytest.raises(TrustError):
        await town.utility.customers.open("c1")


async def test_every_customer_has_a_key_and_an_id_of_their_own(town: Town) -> None:
    ids = [await town.utility.customers.add(NewCustomer(Person(NAME, ADDRESS)), NOW) for _ in range(2)]
    assert len({*ids, "c1"}) == 3
    with town.engine.connect() as connection:
        rows = connection.execute(sa.select(customers)).all()
    assert len({row.wrapped_key for row in rows}) == len({row.name for row in rows}) == 3


async def test_an_unknown_customer_is_said_to_be_unknown(town: Town) -> None:
    with pytest.raises(LocalError) as caught:
        await town.utility.customers.open("nobody")
    assert caught.value.code == "customer.none"


async def test_customers_move_to_a_newer_wrapping_key_in_steps_and_stay_readable(town: Town) -> None:
    for number in range(2, 8):
        await town.utility.customers.add(NewCustomer(Person(f"{NAME}{number}", ADDRESS), f"c{number}"), NOW)
    town.keys.version = 2
    assert town.utility.customers.remaining(2) == 7
    assert await town.utility.customers.move(2, 4) == 4
    assert town.utility.customers.remaining(2) == 3
    while await town.utility.customers.move(2, 4):
        pass
    assert town.utility.customers.remaining(2) == 0
    person = await town.utility.customers.open("c7")
    assert person is not None
    assert (person.name, person.address) == (f"{NAME}7", ADDRESS)


async def test_a_customer_erased_while_moving_stays_erased(town: Town) -> None:
    new = town.keys.new

    async def erased_meanwhile(purpose: str, key_id: str) -> object:
        erase(town.engine, key_id, "operator", NOW)
        return await new(purpose, key_id)

    town.keys.version = 2
    town.keys.new = erased_meanwhile  # type: ignore[assignment]
    await town.utility.customers.move(2, 4)
    assert await town.utility.customers.open("c1") is None
    with town.engine.connect() as connection:
        row = connection.execute(sa.select(customers)).one()
    assert (row.name, row.address, row.wrapped_key) == (None, None, None)
