"""The documentation's diagram is drawn from the tables that the handshake steps through, and is not stale."""

from __future__ import annotations

import re
from pathlib import Path

from meterseal.link import control, legality, profiles
from meterseal.link.legality import DEVICE_MOVES, PLATFORM_MOVES

PAGE = (Path(__file__).parents[2] / "docs" / "link.md").read_text(encoding="utf-8")


def test_the_diagrams_of_the_page_are_the_tables() -> None:
    drawn = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    assert drawn == [legality.diagram(DEVICE_MOVES), legality.diagram(PLATFORM_MOVES)]


def test_a_diagram_has_an_arrow_for_every_row_and_no_other() -> None:
    for moves in (DEVICE_MOVES, PLATFORM_MOVES):
        arrows = re.findall(r"^    (\w+) --> (\w+): ([\w-]+) / (.+)$", legality.diagram(moves), re.MULTILINE)
        assert {(phase, step): (then, act) for phase, then, step, act in arrows} == {
            key: (row.then, row.act) for key, row in moves.items()
        }


def test_the_page_names_every_word_and_the_shipped_profiles() -> None:
    assert all(kind.name in PAGE for kind in control.KINDS.values())
    assert all(f"`{name}`" in PAGE for name in profiles.names())
