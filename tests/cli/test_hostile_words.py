"""Words of others on an operator's or officer's terminal: an application that hides what it asks for is shown as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.cli.answers import plain, say, show
from meterseal.cli.keys_orders import sign
from meterseal.security import officerfile, orders
from meterseal.security.passphrase import Stretching
from meterseal.security.platformorders import EnrolPlatform

HIDING = "Night desk\x1b[8m\n  purposes     ['trail']\r\u202e\x9b2J"
PHRASE = b"a passphrase of an officer"


def test_an_application_hides_nothing_from_the_officer_who_signs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cheap = Stretching(bytes(16), passes=1, memory=64, lanes=1)
    monkeypatch.setattr("meterseal.security.officerfile.fresh_stretching", lambda: cheap)
    key, _ = officerfile.make("an", ("enrol",), PHRASE)
    officerfile.write(tmp_path / "an.key", key)
    (tmp_path / "phrase").touch(0o600)
    (tmp_path / "phrase").write_bytes(PHRASE)
    asked = EnrolPlatform(
        request_id=bytes(16),
        not_after=1,
        project_id=bytes(16),
        caller="billing",
        domain=b"\x00\x01",
        business=b"\x00\x02",
        contact=HIDING,
        purposes=("commands", "link"),
        point=bytes(65),
    )
    file = officerfile.RequestFile(purpose="enrol-platform", says={}, request=orders.encoded(asked))
    officerfile.write(tmp_path / "asked", file)
    assert sign(tmp_path / "asked", key=tmp_path / "an.key", passphrase_file=tmp_path / "phrase") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("  purposes")] == [
        "  purposes     ['commands', 'link']"
    ]
    assert all(line.isprintable() for line in lines)
    assert "  contact      Night desk\\x1b[8m\\n  purposes     ['trail']\\r\\u202e\\x9b2J" in lines


@pytest.mark.parametrize("printed", ["say", "show"])
def test_what_a_command_says_stays_on_its_line(printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    if printed == "say":
        say({}, as_json=False, lines=[HIDING, "正常"])
    else:
        show("{}", as_json=False, lines=lambda _: [HIDING, "正常"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == plain(HIDING)
    assert "\x1b" not in first
    assert second == "正常"
