"""What `--help` says: of every command all that its function says of it, in words for whoever types it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import pytest
from cyclopts import App

from meterseal.cli import _run
from meterseal.cli.menu import app

README = Path(__file__).parents[2] / "README.md"


def commands(of: App, chain: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command that does something, with the words that call it."""
    for name in of:
        if name.startswith("-"):
            continue
        one = of[name]
        if one.default_command is not None:
            yield (*chain, name), one
        yield from commands(one, (*chain, name))


def test_the_help_of_a_command_is_more_than_its_line_in_the_menu(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["vee", "facts", "import", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "with the columns usage_point, fact, value, since and until" in said
    assert "or the ratio of a transformer, 2000/5" in said
    assert _run(["vee", "facts", "--help"]) == 0
    assert "Take facts from a CSV.  " in capsys.readouterr().out


def test_every_command_says_of_itself_what_is_for_users_and_not_for_programmers() -> None:
    found = list(commands(app))
    assert len(found) > 100
    for chain, one in found:
        said = cleandoc(one.default_command.__doc__ or "")  # type: ignore[union-attr]
        assert said, chain
        assert not re.search(r"\b\w+Error\b|\bRaises\b", said), chain


def test_every_group_of_commands_is_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    groups = {chain[0] for chain, _ in commands(app)}
    assert {one for one in groups if not re.search(rf"(meterseal |make |`){one}\b", text)} == set()
