"""Commands against a running system: answers for people and for scripts, and refusals that leave it running."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Run, Up, here, meterseal


def test_up_says_where_it_serves(running: Up) -> None:
    assert set(running.said) == {"ready", "web", "headend", "operator_link"}
    assert running.said["ready"] is True
    assert set(running.said["headend"]) == {"tcp", "tls"}
    assert running.said["operator_link"].startswith(running.said["web"] + "/in#")


def test_a_second_up_on_the_same_directory_is_refused_before_anything_is_touched(running: Up) -> None:
    before = {path: path.stat().st_mtime_ns for path in running.data.glob("*") if path.is_file()}
    answer = meterseal("up", "--data", running.data, within=10)
    assert answer.status == 1
    said = answer.sentence()
    assert str(running.data) in said
    assert str(running.process.pid) in said
    assert "--data" in said
    assert {path: path.stat().st_mtime_ns for path in running.data.glob("*") if path.is_file()} == before
    assert meterseal("up", "--data", running.data, "--json", within=10).error() == "app.in-use"
    assert meterseal("status", "--data", running.data).status == 0


def test_a_system_cannot_become_a_lab(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    try:
        answer = here("device", "issue", "--lab", "--data", up.data, "--json")
        assert (answer.status, answer.error()) == (1, "security.not-lab")
        assert here("device", "list", "--data", up.data, "--json").document == []
    finally:
        assert up.end() == 0
    assert meterseal("up", "--data", up.data, "--lab", "--json").error() == "app.not-lab"


def test_status_counts(running: Up, inside: Run) -> None:
    counts = inside("status", "--data", running.data, "--json").document
    assert {"meters", "sessions", "records", "readings", "bills", "refused", "audit_ok"} <= set(counts)


def test_attack_alter_the_audit_trail_and_status_says_no(running: Up, inside: Run) -> None:
    """Who watches `status` by its exit status alone is told that the trail was changed, and where."""
    own = sqlite3.connect(running.data / "platform" / "control.db", isolation_level=None, timeout=10)
    (last,) = own.execute("SELECT coalesce(max(id), 0) FROM refusals").fetchone()
    row = (last + 1, 0, "link.tag", "Never happened.", b"", b"", 0, "", bytes(32), bytes(32))
    try:
        own.execute(f"INSERT INTO refusals VALUES ({', '.join('?' * len(row))})", row)
        found = _status_until(1, running, inside)
        assert found["audit_ok"] is False
        assert f"entry {last + 1}" in found["audit_broken"]
        said = inside("status", "--data", running.data)
        assert said.status == 1
        assert said.out.startswith("THE AUDIT TRAIL DOES NOT HOLD")
        shown = inside("status", "--data", running.data, "--prometheus")
        assert shown.status == 1
        assert "meterseal_audit_trail_intact 0.0" in shown.out
        assert 'meterseal_key_uses_total{key="DIAK",vault="keys",version="1"}' in shown.out
    finally:
        own.execute("DELETE FROM refusals WHERE id = ?", (last + 1,))
        own.close()
    assert _status_until(0, running, inside)["audit_ok"] is True


def _status_until(status: int, running: Up, inside: Run) -> dict[str, object]:
    for _ in range(120):
        answer = inside("status", "--data", running.data, "--json")
        if answer.status == status and answer.document["audit_ok"] is not None:
            return dict(answer.document)
        time.sleep(0.5)
    raise AssertionError(f"status never ended with {status}: {answer.document.get('audit_broken')}")


def test_new_data_keys_are_begun_and_what_remains_reaches_zero(running: Up, inside: Run) -> None:
    begun = inside("reseal", "--data", running.data, "--json").document
    assert begun["to_reseal"] > 0
    for _ in range(100):
        if inside("status", "--data", running.data, "--json").document["to_reseal"] == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the moving never came to its end")


def test_a_person_is_erased_by_a_meter_once_and_cannot_sign_in(running: Up, inside: Run) -> None:
    issued = inside("device", "issue", "--lab", "--data", running.data, "--json").document
    who = ("--meter", issued["device_id"], "--data", running.data, "--json")
    asked = inside("customer", "erase", *who)
    assert (asked.status, asked.error()) == (2, "use.yes")
    first = inside("customer", "erase", *who, "--yes").document
    assert (first["before"], first["accounts"]) == (False, 1)
    again = inside("customer", "erase", first["customer_id"], "--data", running.data, "--json", "--yes")
    assert again.document["before"]
    link = inside("account", "link", "--resident", issued["device_id"], "--data", running.data, "--json")
    assert link.status == 1
    assert inside("customer", "erase", "--data", running.data, "--json").error() == "use.customer"


def test_whoever_erases_on_a_terminal_types_the_customer_once_more(
    running: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = here("device", "issue", "--lab", "--data", running.data, "--json").document
    meter = ("customer", "erase", "--data", running.data, "--meter", issued["device_id"])

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def typed(text: str) -> Answer:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", Terminal(text))
            return here(*meter)

    for wrong in ("", "\n", "yes\n", issued["device_id"] + "\n"):
        refused = typed(wrong)
        assert refused.status == 2, refused
        assert "nobody was erased" in refused.err
        customer = refused.err.split()[1]
    assert typed(f" {customer}\n").out.startswith(f"customer {customer} erased at ")
    assert "was erased at" in typed("no\n").err


def test_an_agreement_is_ended_by_a_meter_on_a_day_that_is_not_billed_yet(running: Up, inside: Run) -> None:
    issued = inside("device", "issue", "--lab", "--data", running.data, "--json").document
    end = ("customer", "end", issued["device_id"], "--data", running.data, "--json", "--until")
    first = inside(*end, "2099-01-01").document
    assert first["until"] > first["since"]
    assert inside(*end, "2099-01-01").document == first
    assert inside(*end, "2099-02-01").error() == "agreement.end"
    assert inside(*end, "2001-01-01").error() == "agreement.end"
    assert inside(*end, "soon").error() == "use.date"


@pytest.mark.parametrize("suite", [1, 2])
def test_an_issued_lab_device_is_listed_and_its_credentials_are_whole(
    running: Up, suite: int, inside: Run
) -> None:
    issued = inside("device", "issue", "--lab", "--suite", suite, "--data", running.data, "--json").document
    assert {"device_id", "module_id", "key_version", "project_id", "suite", "k_bound", "root_cert"} <= set(
        issued
    )
    assert len(issued["device_chain"]) == (2 if suite == 1 else 0)
    assert len(bytes.fromhex(issued["k_bound"])) == 16
    listed = inside("device", "list", "--data", running.data, "--json").document
    assert issued["device_id"] in {row["device_id"] for row in listed}
    link = inside(
        "account", "link", "--resident", issued["device_id"], "--data", running.data, "--json"
    ).document
    assert link["url"].startswith(running.said["web"] + "/in#")


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (["--tariff", "no-such"], "use.tariff"),
        (["--billing-day", "32"], "use.billing-day"),
        (["--device-id", "2078330011223344"], "use.device"),
    ],
)
def test_a_device_that_cannot_be_billed_is_not_half_issued(
    running: Up, wish: list[str], code: str, inside: Run
) -> None:
    device = ["--device-id", "1078330099887766"] if "--device-id" not in wish else []
    before = inside("device", "list", "--data", running.data, "--json").document
    answer = inside("device", "issue", "--lab", *device, *wish, "--data", running.data, "--json")
    assert (answer.status, answer.error()) == (2, code)
    assert inside("device", "list", "--data", running.data, "--json").document == before


def test_the_same_device_is_not_issued_twice_and_can_be_issued_after_a_refusal(
    running: Up, inside: Run
) -> None:
    wish = ["device", "issue", "--lab", "--device-id", "1078330011119999", "--data", running.data, "--json"]
    assert inside(*wish, "--tariff", "no-such").status == 2
    assert inside(*wish).status == 0
    again = inside(*wish)
    assert (again.status, again.error()) == (1, "fleet.enrolled")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["bill", "list", "--meter", "1078330000000001"], "fleet.unknown"),
        (["account", "link", "--resident", "1078330000000001"], "fleet.unknown"),
        (["bill", "show", "b-none"], "bill.none"),
        (["vee", "show", "--meter", "1078330000000001"], "fleet.unknown"),
        (["vee", "undo", "7", "--reason", "r"], "edit.none"),
        (["vee", "approve", "7"], "edit.none"),
        (
            ["vee", "edit", "1078330000000001", "--day", "2026-11-02", "--total", "1", "--reason", "r"],
            "fleet.unknown",
        ),
    ],
)
def test_what_is_not_there_is_answered_with_status_1(
    running: Up, command: list[str], code: str, inside: Run
) -> None:
    answer = inside(*command, "--data", running.data, "--json")
    assert (answer.status, answer.error()) == (1, code)
    assert inside(*command, "--data", running.data).sentence()


@pytest.mark.parametrize(
    "command",
    [
        ["vee", "run"],
        ["vee", "show"],
        ["vee", "edits"],
        ["vee", "try", "spike", "least=100"],
        ["vee", "try", "spike", "--off", "--medium", "water"],
        ["vee", "changes"],
        ["bill", "run"],
        ["bill", "list"],
        ["audit"],
        ["status"],
    ],
)
def test_every_command_speaks_to_people_and_to_scripts(running: Up, command: list[str], inside: Run) -> None:
    plain = inside(*command, "--data", running.data)
    assert (plain.status, plain.err) == (0, "")
    with_json = inside(*command, "--data", running.data, "--json")
    assert isinstance(with_json.document, dict | list)


def test_findings_of_a_meter_are_those_of_its_usage_point(running: Up, inside: Run) -> None:
    wish = ["device", "issue", "--lab", "--device-id", "1078330011118888", "--data", running.data, "--json"]
    assert inside(*wish).status == 0
    found = inside("vee", "show", "--meter", "1078330011118888", "--data", running.data, "--json")
    assert found.document == []
    both = inside("vee", "show", "up-1", "--meter", "1078330011118888", "--data", running.data, "--json")
    assert both.error() == "use.meter"


def test_a_rule_is_tried_changed_and_listed_and_methods_are_ordered(running: Up, inside: Run) -> None:
    wish = ("spike", "least=4321", "--medium", "water", "--data", running.data)
    reason = ("--reason", "a leak was missed")
    assert inside("vee", "change", *wish, *reason, "--json").error() == "vee.untried"
    assert inside("vee", "try", *wish, "--days", 30).status == 0
    assert inside("vee", "change", *wish, *reason, "--json").error() == "vee.untried"
    assert inside("vee", "try", *wish).status == 0
    made = inside("vee", "change", *wish, *reason)
    assert made.status == 0
    assert "spike least=4321 (water) from " in made.out
    assert ": a leak was missed" in made.out
    assert "tried: 0 findings before, 0 with it" in made.out
    order = ("vee", "order", "flat,like-day", "--since", "2027-02-15", "--data", running.data)
    made = inside(*order, "--until", "2027-02-22", "--medium", "gas", "--reason", "the feast")
    assert "methods: flat, like-day (gas) for gaps from 2027-02-15" in made.out
    assert inside(*order, "--until", "2027-02-15", "--reason", "the feast", "--json").error() == "vee.order"
    listed = inside("vee", "changes", "--data", running.data, "--json").document
    assert [one["kind"] for one in listed] == ["order", "rule"]
    assert listed[1]["values"] == {"least": "4321"}
    assert len(inside("vee", "changes", "--data", running.data).out.splitlines()) == 2


@pytest.mark.parametrize("format", ["csv", "arrow", "parquet", "cim"])
def test_an_export_is_one_file_for_its_owner_that_stands_there_whole_or_not_at_all(
    running: Up, inside: Run, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "readings"
    wish = ("export", out, "--data", running.data, "--format", format)
    assert inside(*wish, "--json").document == {"file": str(out), "format": format, "readings": 0}
    assert out.stat().st_mode & 0o777 == 0o600
    first = out.read_bytes()
    assert first or format == "csv"
    assert inside(*wish, "--json").error() == "use.file-exists"
    assert inside(*wish, "--meter", "1078330000000001", "--force").status == 1
    assert len(inside(*wish, "--meter", "A" * 5000, "--force").sentence()) < 200
    assert out.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["readings"]
    assert inside(*wish, "--force").status == 0


def test_a_hand_over_is_written_and_checked_without_the_system(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = inside("handover", "write", out, "--data", running.data, "--json").document
    assert (first["number"], first["above"]) == (1, 0)
    assert inside("handover", "write", out, "--data", running.data).status == 0
    assert inside("handover", "check", out, "--json").document["deliveries"] == 2
    assert "0 of them told again" in inside("handover", "check", out).out
    (out / "000001" / "manifest.json").write_bytes(b"{}")
    assert inside("handover", "check", out, "--json").error() == "handover.changed"
    assert inside("handover", "check", tmp_path / "none", "--json").error() == "use.file"


def test_weather_and_feasts_are_taken_from_csv_whole_or_not_at_all(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    file = tmp_path / "hours.csv"
    data = ("--data", running.data)
    file.write_text("at,temperature\n2026-11-21T13:00+08:00,-3.5\n2026-11-21T06:00Z,4\n")
    assert inside("weather", "import", file, *data, "--json").document == {"hours": 2}
    known = inside("weather", "show", *data, "--json").document
    assert known == {"since": 1_795_237_200_000, "until": 1_795_244_400_000, "missing": 0}
    for wrong in (
        "at,temperature\n2026-11-25T13:00+08:00,1\n2026-11-25T13:30+08:00,1\n",
        "at,temperature\n2026-11-25T13:00,1\n",
        "at,temperature\n2026-11-25T13:00+08:00,nan\n",
        "at,temperature\n2026-11-25T13:00+08:00,61\n",
        "at,temperature\n2026-11-25T13:00+08:00\n",
        "at;temperature\n",
        "",
    ):
        file.write_text(wrong)
        assert inside("weather", "import", file, *data, "--json").error() == "use.csv", wrong
    file.write_bytes(b"\xff\xfe")
    assert inside("weather", "import", file, *data, "--json").error() == "use.csv"
    assert inside("weather", "import", tmp_path / "none", *data, "--json").error() == "use.file"
    assert inside("weather", "show", *data, "--json").document == known
    file.write_text("at,temperature\n2026-11-21T17:00+08:00,2\n")
    assert inside("weather", "import", file, *data).status == 0
    assert "without 2 hours of it" in inside("weather", "show", *data).out

    file.write_text("day,kind\n2026-10-01,holiday\n2026-10-10,workday\n")
    assert inside("calendar", "import", file, *data, "--json").document == {"days": 2}
    file.write_text("day,kind\n2026-10-02,holiday\n2026-10-03,feast\n")
    assert inside("calendar", "import", file, *data, "--json").error() == "use.csv"
    kinds = [one["kind"] for one in inside("calendar", "show", *data, "--json").document]
    assert kinds == ["holiday", "workday"]


def test_facts_are_taken_from_csv_whole_or_not_at_all(running: Up, inside: Run, tmp_path: Path) -> None:
    file = tmp_path / "facts.csv"
    data = ("--data", running.data)
    file.write_text("usage_point,fact,value,since,until\n,limit,12,2026-11-01,\n")
    assert inside("vee", "facts", "import", file, *data, "--json").document == {"facts": 1}
    known = inside("vee", "facts", "show", *data, "--json").document
    (limit,) = [one for one in known["facts"] if one["fact"] == "limit"]
    assert (limit["value"], limit["since"], known["more"]) == ("12", 1_793_462_400_000, 0)
    file.write_text("usage_point,fact,value,since,until\n,limit,14,,\nnobody,class,business,,\n")
    assert inside("vee", "facts", "import", file, *data, "--json").error() == "facts.unknown"
    assert inside("vee", "facts", "show", *data, "--json").document == known


def test_a_forecast_that_nobody_can_make_yet_says_what_it_needs(running: Up, inside: Run) -> None:
    assert "two weeks" in inside("forecast", "show", "--data", running.data, "--medium", "gas").sentence()
    assert inside("forecast", "show", "--data", running.data, "--json").error() == "use.forecast"
    made = inside("forecast", "run", "--data", running.data, "--json").document
    assert set(made["series"].values()) == {0}
    assert inside("forecast", "score", "--data", running.data, "--json").document == []


def test_doctor_says_what_this_machine_can_do(inside: Run) -> None:
    answer = inside("doctor", "--json")
    rows = {row["check"]: row for row in answer.document["checks"]}
    assert {"python", "sm2", "sm3", "sm4", "time zone", "chromium"} <= set(rows)
    assert answer.document["ok"] == all(row["ok"] or not row["needed"] for row in rows.values())
    assert answer.status == (0 if answer.document["ok"] else 1)
    assert not rows["chromium"]["needed"]
    assert "sm2" in inside("doctor").out


def test_no_command_shows_the_help() -> None:
    answer = meterseal()
    assert answer.status == 0
    assert "doctor" in answer.out


def test_a_supervisor_killed_outright_leaves_a_directory_of_a_very_long_path_that_starts_again(
    tmp_path: Path,
) -> None:
    up = Up(tmp_path / ("d" * 110))
    assert here("status", "--data", up.data).status == 0
    up.process.send_signal(signal.SIGKILL)
    up.process.wait()
    again = Up(up.data)
    assert here("status", "--data", up.data).status == 0
    assert again.said["web"] == up.said["web"]
    assert again.end() == 0


def test_no_secret_lies_in_clear_in_the_directory(running: Up) -> None:
    passphrase = running.data.with_name("data.passphrase").read_bytes().strip()
    for path in running.data.rglob("*"):
        if path.is_file():
            assert passphrase not in path.read_bytes(), path


def test_only_our_account_may_use_the_socket(running: Up) -> None:
    found = (running.data / "operator.sock").stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_uid == os.getuid()


@pytest.mark.parametrize("after", [1.4])
def test_a_signal_while_it_starts_ends_it_cleanly_and_the_next_start_goes_on(
    tmp_path: Path, after: float
) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-m", "meterseal", "up", "--data", str(data), "--json"],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(after)
    process.terminate()
    _, said = process.communicate(timeout=10)
    assert "Traceback" not in said
    assert process.returncode in (0, -signal.SIGTERM)  # before the handler stands, the signal's own way
    assert Up(data).end() == 0


def test_a_first_start_that_was_killed_is_gone_on_with_by_the_next(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-m", "meterseal", "up", "--data", str(data)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while not (data / "lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    up = Up(data)
    assert here("status", "--data", data).status == 0
    assert up.end() == 0


@pytest.mark.timeout(240)
def test_captured_answers_can_be_replayed_again_and_with_another_file(tmp_path: Path) -> None:
    one, other = (
        "68104433221100337881161F9000007766552C007766552C3101221105152021841316",
        "68104533221100337881161F9000007766552C007766552C3101221105152021841416",
    )
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text(one + "\n")
    second.write_text(one + "\n" + other + "\n")
    up = Up(tmp_path / "data")
    try:
        played = [
            meterseal("simulate", "--data", up.data, "--replay", file, "--exit", "--json", within=60).document
            for file in (first, first, second)
        ]
        assert [one["meters"] for one in played] == [1, 1, 2]
        assert played[0]["readings"] > 0
        assert played[1]["records"] == 0  # the concentrator has vouched for it before
        elsewhere = meterseal(
            "simulate",
            "--data",
            up.data,
            "--replay",
            first,
            "--field",
            tmp_path / "other",
            "--json",
            within=60,
        )
        assert (elsewhere.status, elsewhere.error()) == (1, "fleet.enrolled")
    finally:
        assert up.end() == 0
