"""`meterseal store …` against a running system: a backup, a drill of it, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run, Up


def test_a_backup_of_a_running_system_is_listed_and_comes_back_on_a_copy(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    assert inside("store", "list", place, "--json").error() == "use.file"
    place.mkdir()
    assert inside("store", "list", place).out == "no backup\n"
    first = inside("store", "backup", "--data", running.data, "--to", place, "--json")
    assert first.status == 0, first
    done = first.document
    assert done["new_bytes"] == done["bytes"] > 0
    again = inside("store", "backup", "--data", running.data, "--to", place, "--keep", "1", "--json").document
    assert again["points"] == 1
    (listed,) = inside("store", "list", place, "--json").document
    assert listed["id"] == again["id"] != done["id"]
    drilled = inside("store", "restore", place, "--data", running.data, "--drill")
    assert drilled.status == 0
    assert "comes back" in drilled.out
    checked = inside("store", "check", "--data", running.data)
    assert checked.status == 0
    assert "ledger verify" in checked.out


def test_what_cannot_be_backed_up_or_brought_back_is_a_sentence(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    answer = inside("store", "backup", "--data", running.data, "--to", running.data / "b", "--json")
    assert (answer.status, answer.error()) == (1, "backup.place")
    place = tmp_path / "backups"
    answer = inside("store", "restore", place, "--data", running.data, "--json")
    assert (answer.status, answer.error()) == (1, "app.in-use")
    answer = inside("store", "restore", place, "--data", running.data, "--drill", "--json")
    assert (answer.status, answer.error()) == (1, "backup.none")
    answer = inside("store", "restore", place, "--data", tmp_path / "new", "--json")
    assert (answer.status, answer.error()) == (1, "backup.none")
    assert not (tmp_path / "new").exists()
    answer = inside("store", "give-up", "--data", running.data, "--yes", "--json")
    assert (answer.status, answer.error()) == (1, "app.in-use")
    answer = inside("store", "give-up", "--data", tmp_path / "new", "--yes", "--json")
    assert answer.error() == "use.data"
    assert not (tmp_path / "new").exists()


def test_a_rule_of_retention_is_stated_tried_and_run_only_when_somebody_means_it(
    running: Up, inside: Run
) -> None:
    assert (
        "kept in full for ever: water/main"
        in inside("store", "retention", "show", "--data", running.data).out
    )
    rule = ("store", "retention", "set", "heat", "--data", running.data, "--reason", "policy of 2026")
    answer = inside(*rule, "--intervals", "100", "--json")
    assert (answer.status, answer.error()) == (1, "retention.short")
    said = inside(*rule, "--intervals", "1100", "--days", "3650", "--by", "li")
    assert "heat/main            in full for 1100 days, then one register a day, after 3650 days" in said.out
    assert "policy of 2026" in said.out
    tried = inside("store", "retention", "try", "--data", running.data, "--json").document
    assert (tried["rows"], tried["rollups"]) == (0, [])  # nothing is so old
    answer = inside("store", "retention", "run", "--data", running.data)
    assert answer.status == 2
    assert "--yes" in answer.sentence()
    done = inside("store", "retention", "run", "--data", running.data, "--yes")
    assert done.out.startswith("no rule reaches further")
