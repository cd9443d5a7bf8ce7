"""`meterseal keys module` against a running system, on modules of a fleet's memory and in a virtual card reader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from meterseal.cli.calls import ask_keys
from meterseal.crypto.expose import expose
from meterseal.crypto.sm2 import encrypt
from meterseal.edge.card import Card
from meterseal.edge.chip import Chip
from meterseal.edge.making import personal, personalise
from meterseal.edge.memories import Memories
from meterseal.edge.pcsc import PcscPort, readers
from meterseal.errors import TrustError
from tests.cli.conftest import Answer, Run, Up, here
from tests.cli.test_keys import officer, sign
from tests.edge import cards
from tests.edge.test_module_reader import VirtualCard, needs_reader, virtual
from tests.edge.test_module_t12_clone import PAIRING

__all__ = ["virtual"]
SERIALS = count(0xA1)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running system with the officers an and bo."""
    folder = tmp_path_factory.mktemp("cards")
    up = Up(folder / "data")
    try:
        for name in ("an", "bo"):
            officer(folder, name)
        cards = (folder / "an.card", folder / "bo.card")
        assert here("keys", "officer", "add", *cards, "--data", up.data).status == 0
        (folder / "pin").write_text("135790")
        (folder / "pin").chmod(0o600)
        yield up
    finally:
        assert up.end() == 0


def ordered(system: Up, to: Path, purpose: str, ids: tuple[bytes, bytes], *people: str) -> Path:
    """A request file for this device and module with these signatures."""
    made = here(
        "keys", "request", purpose, f"device_id={ids[0].hex()}", f"module_id={ids[1].hex()}", "reason=desk 4",
        "--data", system.data, "--to", to, "--json",
    )  # fmt: skip
    assert made.status == 0, made
    for name in people:
        assert sign(system.data.parent, to, name).status == 0  # type: ignore[attr-defined]
    return to


class Own:
    """A module of its own for a test, in the memory `fleet`, enrolled with the running system and paired."""

    def __init__(self, system: Up, folder: Path, run: Run) -> None:
        self.system, self.folder, self.run = system, folder, run
        number = next(SERIALS).to_bytes(4)
        self.device_id, self.module_id = (
            bytes.fromhex("10783300") + number,
            bytes.fromhex("4d530000") + number,
        )
        self.fleet = system.data.with_name("fleet")
        memories = Memories(self.fleet)
        point = memories.chip(self.module_id).make_key(self.module_id)
        memories.close()
        given = ask_keys(system.data, lambda sdk: sdk.personalise(self.device_id, self.module_id, 1, point))
        assert personalise(self.fleet, [given]) == 1

    def order(self, purpose: str, *people: str) -> Path:
        to = self.folder / f"{len(list(self.folder.iterdir()))}.request"
        return ordered(self.system, to, purpose, (self.device_id, self.module_id), *people)

    def say(self, verb: str, order: Path, *more: object) -> Answer:
        data, fleet = self.system.data, self.fleet
        return self.run("keys", "module", verb, order, "--data", data, "--memory", fleet, *more, "--json")

    def pin(self) -> Answer:
        return self.say(
            "pin", self.order("card-rights", "an"), "--pin-file", self.system.data.with_name("pin")
        )

    def verify(self, pin: str) -> bool:
        memories = Memories(self.fleet)
        try:
            Card(memories.port(self.module_id, self.device_id)).verify(pin)
        except TrustError:
            return False
        finally:
            memories.close()
        return True


@pytest.fixture
def own(system: Up, tmp_path: Path, inside: Run) -> Own:
    return Own(system, tmp_path, inside)


def test_the_way_back_from_wrong_pins(own: Own) -> None:
    assert own.pin().document["life"] == "personalised"
    assert not any(own.verify("999999") for _ in range(5))
    unlock = own.order("card-unlock", "an")
    alone = own.say("unlock", unlock)
    assert (alone.status, alone.error()) == (1, "security.two-persons")
    sign(own.system.data.parent, unlock, "bo")
    assert own.say("unlock", unlock).document["life"] == "personalised"
    assert own.verify("135790")
    assert not any(own.verify("999999") for _ in range(5))
    again = own.say("unlock", unlock)
    assert (again.status, again.error()) == (1, "security.replayed")
    assert not own.verify("135790")


def test_challenge_in_answer_out(own: Own) -> None:
    unlock, data = own.order("card-unlock", "an", "bo"), own.system.data
    short = own.run("keys", "module", "unlock", unlock, "--data", data, "--challenge", "00", "--json")
    assert (short.status, short.error()) == (2, "use.challenge")
    typed = own.run("keys", "module", "unlock", unlock, "--data", data, "--challenge", "00" * 16, "--json")
    assert len(bytes.fromhex(typed.document["answer"])) == 8


def test_is_it_the_enrolled_module(own: Own) -> None:
    assert own.say("check", own.order("card-check", "bo")).document["genuine"] is True
    said = own.run(
        "keys", "module", "check", own.order("card-check", "bo"), "--data", own.system.data, "--challenge", "00" * 16,
        "--answer", "00" * 8, "--json",
    )  # fmt: skip
    assert (said.status, said.document["genuine"]) == (1, False)


def test_what_can_be_seen_before_uses_no_order_up(own: Own, tmp_path: Path, inside: Run) -> None:
    unlock, data = own.order("card-unlock", "an", "bo"), own.system.data
    assert own.say("unlock", unlock).error() == "module.life"
    wrong = own.say("destroy", unlock)
    assert (wrong.status, wrong.error()) == (2, "use.order")
    nowhere = inside("keys", "module", "unlock", unlock, "--data", data, "--json")
    assert (nowhere.status, nowhere.error()) == (2, "use.module")
    empty = inside("keys", "module", "state", "--memory", tmp_path, "--module", own.module_id.hex(), "--json")
    assert (empty.status, empty.error()) == (2, "use.module")
    own.module_id = cards.MODULE
    assert own.say("lock", own.order("card-lock", "an", "bo")).error() == "module.other"


def test_a_destroyed_module_stays_so(own: Own, inside: Run) -> None:
    assert own.say("lock", own.order("card-lock", "an", "bo")).document["life"] == "locked"
    assert own.say("unlock", own.order("card-unlock", "an", "bo")).document["life"] == "personalised"
    assert own.say("destroy", own.order("card-destroy", "an", "bo")).document["life"] == "destroyed"
    said = inside("keys", "module", "state", "--memory", own.fleet, "--module", own.module_id.hex())
    assert "is destroyed" in said.out
    assert own.pin().error() == "module.life"


@needs_reader
def test_a_module_in_a_card_reader(system: Up, virtual: VirtualCard, tmp_path: Path, inside: Run) -> None:
    with PcscPort(readers()[0]) as port:
        chip = Chip(port)
        point = chip.make_key(cards.MODULE)
        chip.personalise(
            personal(ask_keys(system.data, lambda sdk: sdk.personalise(cards.WATER, cards.MODULE, 1, point)))
        )

    def in_reader(verb: str, name: str, *people: str) -> Answer:
        order = ordered(system, tmp_path / name, f"card-{verb}", (cards.WATER, cards.MODULE), *people)
        return inside("keys", "module", verb, order, "--data", system.data, "--reader", "any", "--json")

    assert in_reader("check", "one", "an").document["genuine"] is True
    assert in_reader("lock", "two", "an", "bo").document["life"] == "locked"
    assert in_reader("unlock", "three", "bo", "an").document["life"] == "personalised"
    with PcscPort(readers()[0]) as port:
        Chip(port).pair(encrypt(point, expose(PAIRING)))
    assert in_reader("destroy", "four", "an", "bo").error() == "module.paired"
    with PcscPort(readers()[0]) as port:
        Chip(port).present(PAIRING)
        assert Card(port).state().life == 1
