"""`meterseal device command` and its companions as an operator and an officer use them, on a running system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Up, meterseal


class Ground:
    """A running lab system with one water and one gas meter, and the officer an who may command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.up = Up(folder / "data", "--lab")
        self.phrase = folder / "phrase"
        self.phrase.write_text("the passphrase of both")
        self.phrase.chmod(0o600)
        for name, roles in (("an", ("enrol", "command")), ("bo", ("enrol",)), ("cy", ("command",))):
            said = [word for role in roles for word in ("--role", role)]
            meterseal("keys", "officer", "new", name, *said, "--to", folder, "--passphrase-file", self.phrase)
        cards = tuple(folder / f"{name}.card" for name in ("an", "bo", "cy"))
        assert meterseal("keys", "officer", "add", *cards, "--data", self.up.data).status == 0
        self.meter = {
            medium: meterseal(
                "device", "issue", "--lab", "--medium", medium, "--data", self.up.data, "--json"
            ).document["device_id"]
            for medium in ("water", "gas", "electricity")
        }

    def command(self, medium: str, *act: str, officer: str = "") -> Answer:
        key = (
            ("--officer", self.folder / f"{officer}.key", "--passphrase-file", self.phrase) if officer else ()
        )
        return meterseal(
            "device", "command", self.meter[medium], *act, "--data", self.up.data, "--json", *key
        )


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("command"))
    yield made
    assert made.up.end() == 0


def test_a_question_waits_for_its_meter_and_needs_no_officer(ground: Ground) -> None:
    word = ground.command("water", "read", "901F").document
    assert (word["kind"], word["state"], word["number"]) == ("request", "waiting", None)
    shown = meterseal("device", "words", word["id"], "--data", ground.up.data)
    assert "It waits for the meter to be heard." in shown.out


def test_an_officers_commands_are_numbered_and_listed(ground: Ground) -> None:
    first = ground.command("water", "valve", "close", officer="an").document
    second = ground.command("water", "valve", "open", officer="an").document
    assert [(word["kind"], word["number"]) for word in (first, second)] == [("guarded", 1), ("guarded", 2)]
    listed = meterseal(
        "device", "words", "--meter", ground.meter["water"], "--data", ground.up.data, "--json"
    ).document
    assert [word["id"] for word in listed["words"]][:2] == [second["id"], first["id"]]
    assert listed["counts"]["guarded"]["waiting"] >= 2


def test_the_zone_that_officers_recorded_is_filled_in_and_another_is_refused(ground: Ground) -> None:
    request, data = ground.folder / "zone.request", ("--data", ground.up.data, "--json")
    asked = meterseal(
        "device",
        "zone",
        "north",
        ground.meter["electricity"],
        "--reason",
        "a new street",
        "--to",
        request,
        *data,
    )
    assert asked.document["says"]["zone"] == "north"
    for officer in ("an", "cy"):
        key = ("--key", ground.folder / f"{officer}.key", "--passphrase-file", ground.phrase)
        assert meterseal("keys", "sign", request, *key, "--json").status == 0
    assert "1 modules are in zone north" in meterseal("keys", "submit", request, *data).document["sentence"]
    assert ground.command("electricity", "relay", "trip", officer="an").document["state"] == "waiting"
    elsewhere = ground.command("electricity", "relay", "trip", "--zone", "default", officer="an")
    assert elsewhere.error() == "security.zone"


@pytest.mark.parametrize(
    ("medium", "act", "officer", "code"),
    [
        ("gas", ("valve", "open"), "an", "command.gas-valve"),
        ("water", ("valve", "permit"), "an", "command.act"),
        ("water", ("valve", "close"), "bo", "security.role"),
        ("water", ("valve", "close"), "", "use.officer"),
        ("water", ("fly",), "an", "use.act"),
        ("water", ("relay", "trip"), "an", "wire.field"),
        ("water", ("read", "xyz"), "", "use.identifier"),
    ],
)
def test_what_may_not_be_said_is_refused_in_one_sentence(
    ground: Ground, medium: str, act: tuple[str, ...], officer: str, code: str
) -> None:
    answer = ground.command(medium, *act, officer=officer)
    assert answer.status in (1, 2)
    assert answer.error() == code


def test_gas_is_permitted_and_relays_are_tripped(ground: Ground) -> None:
    assert ground.command("gas", "valve", "permit", officer="an").document["state"] == "waiting"
    assert ground.command("electricity", "relay", "trip", officer="an").document["state"] == "waiting"


def test_a_roll_out_with_nothing_to_do_says_so(ground: Ground) -> None:
    answer = meterseal("device", "rollout", "--data", ground.up.data, "--json").document
    assert (answer["keys_queued"], answer["certificates_queued"]) == (0, 0)


def test_a_word_that_was_not_sent_is_taken_back_by_its_number(ground: Ground) -> None:
    word = ground.command("water", "read", "901F").document
    taken = meterseal("device", "words", word["id"], "--withdraw", "--data", ground.up.data, "--json")
    assert (taken.status, taken.document["state"]) == (0, "withdrawn")
    shown = meterseal("device", "words", word["id"], "--data", ground.up.data, "--json")
    assert shown.document["state"] == "withdrawn"
    nameless = meterseal("device", "words", "--withdraw", "--data", ground.up.data, "--json")
    assert (nameless.status, nameless.error()) == (2, "use.word")
