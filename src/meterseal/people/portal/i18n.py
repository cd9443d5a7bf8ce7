"""Languages of the portal: which one a request gets, its catalogue and its template environment.

It formats nothing (see `format`) and holds no text; texts stand in templates, `words` and the catalogues.

One Jinja environment per language: environments that share globals would speak the language installed last.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from babel import Locale
from babel.support import NullTranslations, Translations
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from meterseal.errors import LocalError
from meterseal.people.portal.format import Formats

LANGUAGES = {"zh_Hans_CN": "zh-Hans", "en": "en"}
"""Catalogue name -> value of `lang`, in the order the switch shows them."""
NAMES = {"zh_Hans_CN": "中文", "en": "English"}
DEFAULT = "zh_Hans_CN"
TEMPLATES = Path(__file__).with_name("templates")


class Language(NamedTuple):
    """One language, ready to render: catalogue name, `lang` value, gettext and its environment."""

    code: str
    tag: str
    gettext: Callable[[str], str]
    formats: Formats
    environment: Environment


def load_languages(folder: Path) -> dict[str, Language]:
    """Load every catalogue. Raises LocalError `portal.not-built` when they were not compiled."""
    languages = {}
    for code, tag in LANGUAGES.items():
        catalogue = Translations.load(folder, [code])
        if type(catalogue) is NullTranslations:
            raise not_built(f"the {NAMES[code]} catalogue")
        formats = Formats(Locale.parse(code), catalogue.gettext)
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(catalogue, newstyle=True)  # type: ignore[attr-defined]  # the extension adds it
        environment.filters.update(formats.filters())
        languages[code] = Language(code, tag, catalogue.gettext, formats, environment)
    return languages


def not_built(what: str) -> LocalError:
    """The error for a source tree that was never built."""
    return LocalError(
        "portal.not-built",
        f"The portal cannot start: {what} is not built yet. Run `python hatch_build.py` in the source "
        f"directory, or "
        "install the package with pip.",
    )


def negotiate(accept: str) -> str:
    """Choose a language for an Accept-Language header; every Chinese tag gets Simplified Chinese, others
    English.

    An absent or unusable header gets the default. zh-TW and zh-HK are answered in Simplified, too: there is
    no Traditional catalogue.
    """
    weighted = []
    for place, item in enumerate(accept.lower().split(",")[:20]):
        tag, _, options = item.strip().partition(";")
        weight = options.strip().removeprefix("q=") if options.strip().startswith("q=") else "1"
        try:
            quality = float(weight)
        except ValueError:
            continue
        language = tag.split("-")[0].strip()
        if quality > 0 and (language in ("zh", "en")):
            weighted.append((-quality, place, "zh_Hans_CN" if language == "zh" else "en"))
    if weighted:
        return min(weighted)[2]
    return "en" if accept.strip() and accept.strip() != "*" else DEFAULT
