"""`meterseal store …` against a running system: a backup, a drill of it, and what is refused in a sentence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meterseal.app.config import Layout
from meterseal.control import acts
from meterseal.errors import DataError
from meterseal.model import Batch
from tests.cli.conftest import Run, Up
from tests.mdms.fleet import day_record, open_store


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


def test_damaged_and_missing_entries_are_named_apart_and_given_up(tmp_path: Path, inside: Run) -> None:
    layout = Layout(tmp_path / "data")
    layout.platform.mkdir(parents=True)

    async def filled() -> None:
        mdms, engine = open_store(layout.platform, 1)
        for day in range(4):
            await mdms.publish(Batch((day_record(0, day, day + 1),)))
            if day in (1, 2):
                await asyncio.to_thread(mdms._journal.rotate)
        await mdms.close()
        engine.dispose()

    asyncio.run(filled())
    first, second, _ = sorted((layout.measurements / "journal").iterdir())
    content = bytearray(first.read_bytes())
    content[40] ^= 1
    first.write_bytes(content)
    second.unlink()
    give_up = ("store", "give-up", "--data", layout.root)
    with pytest.raises(DataError):
        open_store(layout.platform)
    looked = inside(*give_up, "--json")
    lost = [(one["state"], one["first"], one["last"], one["file"]) for one in looked.document["lost"]]
    assert (looked.status, lost) == (1, [("damaged", 1, 1, first.name), ("missing", 3, 3, None)])
    said = inside(*give_up).out
    assert said.startswith(f"damaged: entry 1; {first.name} is there, and bytes 0 to ")
    assert "\nmissing: entry 3, in no file\n" in said
    done = inside(*give_up, "--yes", "--by", "li", "--json")
    assert (done.status, done.document["given_up"]) == (0, True)
    mdms, engine = open_store(layout.platform)
    assert mdms.counts().readings == 48  # of the second and the fourth day
    assert [act.actor for act in acts.verified(engine)] == ["li", "li"]
    asyncio.run(mdms.close())
    engine.dispose()
    again = inside(*give_up)
    assert (again.status, again.out.split(" is known")[0]) == (0, "nothing of the journal")


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
