"""The pages of the documentation lead to pages that are there."""

from __future__ import annotations

import re
from pathlib import Path

HOUSE = Path(__file__).parents[2]


def test_every_link_between_pages_leads_to_a_file() -> None:
    pages = [*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)", page.read_text("utf-8"))]
    assert len(links) > 40
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []
