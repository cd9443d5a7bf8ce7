"""`meterseal ledger …` against a running system: what a person keeps elsewhere, compares later, and is told."""

from __future__ import annotations

from pathlib import Path

from meterseal.security.checkpoints import read
from tests.cli.conftest import Run, Up


def test_a_checkpoint_is_kept_elsewhere_and_everything_is_compared_with_it(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.txt"
    said = inside("ledger", "checkpoint", "--data", running.data, "--to", kept)
    assert said.status == 0
    assert said.out == kept.read_text()
    checkpoint = read(kept.read_text())
    shown = inside("ledger", "checkpoint", "--data", running.data, "--json").document
    assert (shown["number"], shown["size"]) == (checkpoint.number, checkpoint.size)
    assert shown["ledger_root"] == checkpoint.root.hex()
    assert inside("ledger", "checkpoint", "--data", running.data, "--to", kept).status != 0
    good = inside("ledger", "verify", "--data", running.data, "--since", kept)
    assert good.status == 0
    assert f"as it was since checkpoint {checkpoint.number}" in good.out
    found = inside("ledger", "verify", "--data", running.data, "--json").document
    assert (found["good"], found["faults"], found["since"]) == (True, [], None)
    grown = inside("ledger", "consistency", kept, "--data", running.data, "--json")
    assert (grown.status, grown.document["holds"]) == (0, True)


def test_what_is_no_checkpoint_and_no_leaf_is_answered_with_a_sentence(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    inside("ledger", "checkpoint", "--data", running.data, "--to", other)
    other.write_text(other.read_text().replace("time 1", "time 2"))
    answer = inside("ledger", "verify", "--data", running.data, "--since", other, "--json")
    assert (answer.status, answer.error()) == (1, "ledger.signature")
    other.write_text("no checkpoint")
    answer = inside("ledger", "consistency", other, "--data", running.data, "--json")
    assert (answer.status, answer.error()) == (1, "ledger.note")
    answer = inside("ledger", "verify", "--data", running.data, "--since", tmp_path / "none")
    assert "checkpoint: No such file or directory." in answer.err
    assert answer.status == 2
    answer = inside("ledger", "prove", "99999999", "--data", running.data)
    assert answer.status == 1
    assert "99999999" in answer.err
    answer = inside("bill", "bundle", "ag-none", "--data", running.data, "--to", tmp_path / "b", "--json")
    assert (answer.status, answer.error()) == (1, "bill.none")
    assert not (tmp_path / "b").exists()
