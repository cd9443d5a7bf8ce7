"""`meterseal keys passphrase` and `keys head` as people use them: refused while running, all or nothing when down."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Up, here, meterseal


def test_a_passphrase_is_changed_when_the_system_is_down_and_it_starts_with_the_new_one(
    tmp_path: Path,
) -> None:
    system = Up(tmp_path / "data")
    file = tmp_path / "data.passphrase"
    before = file.read_bytes()
    running = here("keys", "passphrase", "--data", system.data, "--json")
    assert (running.status, running.error()) == (1, "app.in-use")
    head = here("keys", "head", "--data", system.data, "--json")
    assert (head.status, head.document["lost_at"]) == (0, None)
    assert file.read_bytes() == before
    assert system.end() == 0

    done = here("keys", "passphrase", "--data", system.data, "--json")
    assert (done.status, done.document["kept_in"]) == (0, str(file))
    after = file.read_bytes()
    assert after != before
    assert file.stat().st_mode & 0o077 == 0

    file.write_bytes(before)
    refused = meterseal("up", "--data", system.data, "--json", within=60)
    assert (refused.status, refused.error()) == (1, "mesh.passphrase")
    file.write_bytes(after)
    again = Up(system.data)
    try:
        status = here("status", "--data", again.data, "--json")
        assert (status.status, status.document["keys_put_back_at"]) == (0, None)
    finally:
        assert again.end() == 0
