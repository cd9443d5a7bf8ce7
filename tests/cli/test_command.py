"""`meterseal device command` and its companions as an operator and an officer use them, on a running system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterseal.crypto.sm2 import Sm2PrivateKey
from tests.cli.conftest import Answer, Run, Up, here


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
            here("keys", "officer", "new", name, *said, "--to", folder, "--passphrase-file", self.phrase)
        cards = tuple(folder / f"{name}.card" for name in ("an", "bo", "cy"))
        assert here("keys", "officer", "add", *cards, "--data", self.up.data).status == 0
        self.meter = {
            medium: here(
                "device", "issue", "--lab", "--medium", medium, "--data", self.up.data, "--json"
            ).document["device_id"]
            for medium in ("water", "gas", "electricity")
        }

    def command(self, medium: str, *act: str, officer: str = "", run: Run = here) -> Answer:
        """`officer` names those who sign, by their ids with a space between; `run` how the program is run."""
        keys = [word for name in officer.split() for word in ("--officer", self.folder / f"{name}.key")]
        key = (*keys, "--passphrase-file", self.phrase) if officer else ()
        return run("device", "command", self.meter[medium], *act, "--data", self.up.data, "--json", *key)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("command"))
    yield made
    assert made.up.end() == 0


def test_a_question_waits_for_its_meter_and_needs_no_officer(ground: Ground) -> None:
    word = ground.command("water", "read", "901F").document
    assert (word["kind"], word["state"], word["number"]) == ("request", "waiting", None)
    shown = here("device", "words", word["id"], "--data", ground.up.data)
    assert "It waits for the meter to be heard." in shown.out


def test_an_officers_commands_are_numbered_and_listed(ground: Ground) -> None:
    first = ground.command("water", "valve", "close", officer="an cy").document
    second = ground.command("water", "valve", "open", officer="an cy").document
    assert [(word["kind"], word["number"]) for word in (first, second)] == [("guarded", 1), ("guarded", 2)]
    listed = here(
        "device", "words", "--meter", ground.meter["water"], "--data", ground.up.data, "--json"
    ).document
    assert [word["id"] for word in listed["words"]][:2] == [second["id"], first["id"]]
    assert listed["counts"]["guarded"]["waiting"] >= 2


def test_the_zone_that_officers_recorded_is_filled_in_and_another_is_refused(ground: Ground) -> None:
    request, data = ground.folder / "zone.request", ("--data", ground.up.data, "--json")
    asked = here(
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
        assert here("keys", "sign", request, *key, "--json").status == 0
    assert "1 modules are in zone north" in here("keys", "submit", request, *data).document["sentence"]
    assert ground.command("electricity", "relay", "trip", officer="an cy").document["state"] == "waiting"
    elsewhere = ground.command("electricity", "relay", "trip", "--zone", "default", officer="an cy")
    assert elsewhere.error() == "security.zone"


@pytest.mark.parametrize(
    ("medium", "act", "officer", "code"),
    [
        ("gas", ("valve", "open"), "an cy", "command.gas-valve"),
        ("water", ("valve", "permit"), "an cy", "command.act"),
        ("water", ("valve", "close"), "an", "security.two-persons"),
        ("water", ("valve", "close"), "an an", "security.two-persons"),
        ("water", ("valve", "close"), "bo", "security.role"),
        ("water", ("valve", "close"), "", "use.officer"),
        ("water", ("fly",), "an", "use.act"),
        ("water", ("relay", "trip"), "an", "use.act"),
        ("water", ("settlement-day", "day=31"), "an", "use.fields"),
        ("water", ("time", "--within", "11"), "an", "command.late"),
        ("water", ("write",), "an", "use.frame"),
        ("water", ("read", "xyz"), "", "use.identifier"),
    ],
)
def test_what_may_not_be_said_is_refused_in_one_sentence(
    ground: Ground, inside: Run, medium: str, act: tuple[str, ...], officer: str, code: str
) -> None:
    answer = ground.command(medium, *act, officer=officer, run=inside)
    assert answer.status in (1, 2)
    assert answer.error() == code


def test_gas_is_permitted_and_relays_are_tripped(ground: Ground, inside: Run) -> None:
    assert ground.command("gas", "valve", "permit", officer="an cy").document["state"] == "waiting"
    assert ground.command("electricity", "relay", "trip", officer="an cy").document["state"] == "waiting"


def test_a_roll_out_with_nothing_to_do_says_so(ground: Ground, inside: Run) -> None:
    answer = inside("device", "rollout", "--data", ground.up.data, "--json").document
    assert (answer["keys_queued"], answer["certificates_queued"]) == (0, 0)


def test_a_word_that_was_not_sent_is_taken_back_by_its_number(ground: Ground, inside: Run) -> None:
    word = ground.command("water", "read", "901F").document
    taken = inside("device", "words", word["id"], "--withdraw", "--data", ground.up.data, "--json")
    assert (taken.status, taken.document["state"]) == (0, "withdrawn")
    shown = inside("device", "words", word["id"], "--data", ground.up.data, "--json")
    assert shown.document["state"] == "withdrawn"
    nameless = inside("device", "words", "--withdraw", "--data", ground.up.data, "--json")
    assert (nameless.status, nameless.error()) == (2, "use.word")


def test_an_order_goes_from_one_officer_to_the_other_and_is_sent_once(ground: Ground, inside: Run) -> None:
    order, data = ground.folder / "close.order", ("--data", ground.up.data, "--json")
    meter = ground.meter["gas"]
    made = inside("device", "command", meter, "valve", "close", "--to", order, "--reason", "a leak", *data)
    assert made.document["says"]["does"] == "close the valve 关阀"
    for officer, refused in (("an", "security.two-persons"), ("cy", "")):
        key = ("--key", ground.folder / f"{officer}.key", "--passphrase-file", ground.phrase)
        signed = inside("keys", "sign", order, *key)
        assert "close the valve" in signed.out
        assert signed.status == 0
        sent = inside("device", "send", order, *data)
        assert sent.error() == refused if refused else sent.document["state"] == "waiting"
    again = inside("device", "send", order, *data).document
    assert (again["id"], again["number"]) == (sent.document["id"], sent.document["number"])
    told = inside("device", "words", again["id"], "--data", ground.up.data).out
    for said in ("a leak", "an, cy", "close the valve 关阀", "ordered 20"):
        assert said in told


def test_an_operator_sees_who_ordered_what_and_how_many_more_may_go(ground: Ground, inside: Run) -> None:
    done = ground.command("gas", "purchase", "serial=1", "amount=100.00", officer="an", run=inside).document
    assert (done["act"], done["officers"], done["does"]["chinese"]) == ("purchase", ["an"], "写购入金额")
    again = ground.command("gas", "purchase", "serial=1", "amount=100.00", officer="an", run=inside)
    assert again.error() == "command.purchase"
    listed = inside("device", "words", "--data", ground.up.data).out
    assert "purchase number" in listed
    assert "a zone may have 60, 30 of them for valves, relays and loads" in listed
    assert "a zone may have 60" in inside("status", "--data", ground.up.data).out


def test_everything_that_can_be_said_is_listed_with_its_protection(ground: Ground, inside: Run) -> None:
    rows = {row["act"]: row for row in inside("device", "verbs", "--json").document}
    assert (rows["read"]["officers"], rows["time"]["officers"], rows["valve-close"]["officers"]) == (0, 1, 2)
    assert "two officers" in inside("device", "verbs").out


def test_many_meters_from_the_dry_run_to_the_result(ground: Ground, inside: Run) -> None:
    data, order = ("--data", ground.up.data, "--json"), ground.folder / "days.order"
    listed = ground.folder / "meters"
    listed.write_text("\n".join([*ground.meter.values(), "1078330011229999"]))
    asked = ("device", "bulk", "plan", "settlement-day", "15", "--file", listed, *data)
    dry = inside(*asked).document
    assert (dry["devices"], dry["plan"]["officers"]) == (3, 1)
    assert [one["code"] for one in dry["plan"]["skipped"]] == ["fleet.unknown"]
    assert inside(*asked, "--to", order).error() == "use.reason"
    assert inside("device", "bulk", "plan", "valve", "close", *data).error() == "command.filter"
    assert inside(*asked, "--to", order, "--reason", "a new year").document["request"] == str(order)
    assert inside("device", "bulk", "start", order, *data).error() == "security.two-persons"
    key = ("--key", ground.folder / "an.key", "--passphrase-file", ground.phrase)
    signed = inside("keys", "sign", order, *key, "--json").document
    assert (signed["says"]["act"], signed["says"]["devices"]) == ("settlement-day", 3)
    assert all("set the settlement day 设置结算日, settlement_day" in one for one in signed["says"]["does"])
    begun = inside("device", "bulk", "start", order, *data).document
    assert sum(begun["outcomes"].values()) == 3
    told = inside("device", "bulk", "show", begun["id"], "--data", ground.up.data).out
    assert "ordered by an because: a new year" in told
    ended = inside("device", "bulk", "cancel", begun["id"], *data).document
    assert set(ended["outcomes"]) <= {"cancelled", "withdrawn"}
    assert "settlement day" in inside("device", "bulk", "show", "--data", ground.up.data).out


def test_an_exchange_and_a_move_tell_the_concentrators_with_an_officers_key_or_say_how(
    ground: Ground, inside: Run
) -> None:
    data = ("--data", ground.up.data, "--json")
    for number in (1, 2):
        module = Sm2PrivateKey.generate("a concentrator's module").public_point.hex()
        named = [
            f"f00000000000000{number}",
            "--module-id",
            f"4d0000000000000{number}",
            "--module-point",
            module,
        ]
        to = ground.folder / f"riser{number}"
        made = inside(
            "concentrator", "enrol", *named, "--to", to, "--key-passphrase-file", ground.phrase, *data
        )
        assert made.status == 0, made.out
    old, new, spare = (f"10783300112200{end}" for end in ("71", "72", "73"))
    there = {}
    for meter in (old, spare):
        said = ("--model", "water-generic", "--concentrator", "f000000000000001", "--since", "2026-01-01")
        there[meter] = inside("device", "add", meter, *said, *data).document["meters"][0]["usage_point"]
    read = ("--reason", "worn", "--installer", "7")
    key = ("--officer", ground.folder / "an.key", "--passphrase-file", ground.phrase)
    exchange = (
        "device",
        "exchange",
        old,
        new,
        "--at",
        "2026-02-01 10:00",
        "--last",
        "0",
        "--first",
        "0",
        *read,
        *data,
    )
    wrong = inside(*exchange, "--officer", ground.folder / "an.card")
    assert wrong.status != 0
    assert new not in inside("device", "list", *data).out, (
        "nothing is changed before the officer's key is open"
    )
    told = inside(*exchange, *key).document
    assert (told["roster"], len(told["words"])) == ([], 2)
    without = ("--officer", ground.folder / "bo.key", "--passphrase-file", ground.phrase)
    gone = inside(
        "device", "remove", spare, "--at", "2026-02-01 11:00", "--last", "0", *read, *data, *without
    )
    assert gone.status == 1
    assert gone.document["left"] == there[spare], "the change is written down, and said"
    assert gone.document["roster"] == [
        f"meterseal device command {spare} roster remove --officer FILE --data DIR"
    ]
    assert "role" in gone.document["why"]
    move = (
        "device", "move", new, "--usage-point", there[spare], "--at", "2026-02-02 10:00", "--last", "0", *read,
        "--concentrator", "f000000000000002", "--bus", "3", *data,
    )  # fmt: skip
    by_hand = inside(*move).document["roster"]
    assert by_hand == [
        f"meterseal device command {new} roster remove --concentrator f000000000000001 --officer FILE --data DIR",
        f"meterseal device command {new} roster add bus=3 --officer FILE --data DIR",
    ]
    for line in by_hand:
        words = line.removesuffix(" --officer FILE --data DIR").split()[1:]
        assert inside(*words, *key, *data).document["state"] == "waiting"
    elsewhere = inside(
        "device", "command", new, "roster", "add", "--concentrator", "f000000000000001", *key, *data
    )
    assert elsewhere.error() == "use.concentrator"
    listed = inside("device", "words", "--meter", "f000000000000001", *data).document["words"]
    assert [(one["act"], one["meter"]) for one in listed] == [
        ("roster-remove", new), ("roster-add", new), ("roster-remove", old)
    ]  # fmt: skip
