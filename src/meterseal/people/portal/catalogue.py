"""Which texts the portal has: read from templates and code, and written into the catalogues for translation.

`python -m meterseal.people.portal.catalogue` updates both `.po`; the build compiles them. It translates
nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from meterseal.people.portal.i18n import LANGUAGES, TEMPLATES
from meterseal.people.portal.settings import HERE

CODE = ("words.py", "format.py")
HEADER = "# Texts of the portal; `python -m meterseal.people.portal.catalogue` keeps them in step."
FIRST = datetime(2026, 11, 21, tzinfo=UTC)
"""No time of making in the files: the same texts give the same bytes."""
KEYWORDS = {"_": None, "gettext": None, "_gettext": None, "ngettext": (1, 2)}
OPTIONS = {
    "trimmed": "false",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
    "silent": "false",
    "newstyle_gettext": "true",
}


def extract() -> Catalog:
    """Every text of the portal, in the order of files."""
    texts = Catalog(project="meterseal", charset="utf-8")
    for path in sorted(TEMPLATES.glob("*.html")):
        for line, message, comments, context in extract_from_file(
            "jinja2.ext:babel_extract", path, KEYWORDS, options=OPTIONS
        ):
            texts.add(message, locations=[(path.name, line)], auto_comments=comments, context=context)
    for name in CODE:
        for line, message, comments, context in extract_from_file("python", HERE / name, KEYWORDS):
            texts.add(message, locations=[(name, line)], auto_comments=comments, context=context)
    return texts


def po_path(folder: Path, code: str) -> Path:
    """Where the catalogue of a language lies."""
    return folder / code / "LC_MESSAGES" / "messages.po"


def update(folder: Path) -> None:
    """Bring both catalogues up to date; English translates to itself, new Chinese entries stay empty."""
    texts = extract()
    for code in LANGUAGES:
        path = po_path(folder, code)
        path.parent.mkdir(parents=True, exist_ok=True)
        catalogue = Catalog(locale=code, project="meterseal", charset="utf-8", fuzzy=False)
        if path.exists():
            with path.open("rb") as source:
                catalogue = read_po(source, locale=code)
        catalogue.update(texts, no_fuzzy_matching=True, update_creation_date=False)
        catalogue.obsolete.clear()
        for message in catalogue:
            if code == "en" and message.id:
                message.string = message.id
        catalogue.header_comment = HEADER
        catalogue.revision_date = catalogue.creation_date = FIRST
        catalogue.last_translator = catalogue.language_team = ""
        catalogue.msgid_bugs_address = ""
        with path.open("wb") as target:
            write_po(target, catalogue, width=110, include_lineno=False)


if __name__ == "__main__":
    update(HERE / "locale")
