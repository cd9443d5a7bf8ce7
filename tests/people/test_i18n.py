"""Both languages are complete: every text, its placeholders, and no literal text in templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from meterseal.people.portal.catalogue import extract, po_path
from meterseal.people.portal.i18n import LANGUAGES, TEMPLATES, load_languages
from meterseal.people.portal.settings import HERE
from tests.utility.twins import at, day

LOCALE = HERE / "locale"
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
NOT_WORDS = {"meterseal", "· meterseal"}


def catalogue(code: str) -> Catalog:
    with po_path(LOCALE, code).open("rb") as source:
        return read_po(source, locale=code)


def texts(message: Message) -> tuple[str, ...]:
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def translations(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_text_is_translated(code: str) -> None:
    known = catalogue(code)
    wanted = [message for message in extract() if message.id]
    assert len(wanted) > 200
    for message in wanted:
        found = known.get(message.id)
        assert found is not None, f"{message.id!r} is not in the catalogue; run the catalogue module"
        assert "fuzzy" not in found.flags
        assert all(translations(found)), f"{message.id!r} has no {code} text"
        assert len(translations(found)) == (known.num_plurals if len(texts(message)) > 1 else 1)
    assert {message.id for message in known if message.id} == {message.id for message in wanted}, (
        "stale entries"
    )


@pytest.mark.parametrize("code", LANGUAGES)
def test_translations_keep_their_placeholders(code: str) -> None:
    for message in catalogue(code):
        if message.id:
            wanted = set(PLACEHOLDER.findall(texts(message)[-1]))
            for text in translations(message):
                assert set(PLACEHOLDER.findall(text)) == wanted, message.id
                assert text.count("<b>") == texts(message)[-1].count("<b>")


def test_chinese_is_chinese_and_english_has_none() -> None:
    han = re.compile(r"[\u4e00-\u9fff]")
    for message in catalogue("zh_Hans_CN"):
        if message.id:
            words = PLACEHOLDER.sub("", "".join(translations(message)))
            assert han.search(words) or not re.search(r"[a-z]{2}", words), message.id
    for message in catalogue("en"):
        assert not han.search("".join(translations(message))), message.id


def literals(path: Path) -> Iterator[str]:
    """Text of a template that no gettext call produced: outside tags, and in attributes that people read."""
    source = re.sub(r"\{% trans.*?endtrans %\}", "", path.read_text(), flags=re.DOTALL)
    source = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", source, flags=re.DOTALL)
    for name in ("aria-label", "title", "alt", "placeholder"):
        yield from re.findall(rf'\s{name}="([^"]*)"', source)
    yield from re.sub(r"<[^>]*>", "\n", source, flags=re.DOTALL).split("\n")


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_no_literal_text(path: Path) -> None:
    found = [text.strip() for text in literals(path)]
    assert {text for text in found if re.search(r"[^\W\d_]{2,}", text)} <= NOT_WORDS


def test_each_language_formats_its_own_way_side_by_side() -> None:
    languages = load_languages(LOCALE)
    zh, en = (languages[code].formats for code in ("zh_Hans_CN", "en"))
    since, until, now = day("2026-10-01"), day("2026-11-01"), at("2026-11-21T09:40")
    assert (zh.period(since, until), en.period(since, until)) == ("2026年10月1日–31日", "1 – 31 Oct 2026")
    across = day("2026-12-16"), day("2027-01-16")
    assert en.period(*across) == "16 Dec 2026 – 15 Jan 2027"
    assert zh.period(*across) == "2026年12月16日–2027年1月15日"
    assert (zh.moment(until), en.moment(until)) == ("11月1日 00:00", "1 Nov 00:00")
    assert (zh.day(until), en.day(until), en.weekday(until)) == ("11月1日", "1 Nov", "Sun, 1 Nov")
    assert (zh.month(until), en.month(until)) == ("2026年11月", "November 2026")
    assert (zh.ago(now - 7_200_000, now), en.ago(now - 7_200_000, now)) == ("2 小时", "2 h")
    assert en.ago(now - 3 * 86_400_000, now) == "3 days"
    for formats in (zh, en):
        assert formats.money(123_456) == "¥1,234.56"
        assert formats.money(-5) == "−¥0.05"
        assert formats.price(Decimal("0.5283")) == "¥0.5283"
        assert formats.price(Decimal("5")) == "¥5.00"
        assert formats.scaled(1_234_567, -2) == "12,345.67"
        assert formats.scaled(12, 1) == "120"
        assert formats.exact(Decimal("2.050")) == "2.050"
        assert formats.share(999, 1000) == "99.9%"
        assert formats.share(9_999, 10_000) == "99.9%", "never rounded up to all"
        assert formats.share(5, 5) == "100%"
        assert formats.share(0, 0) == "–"
        assert formats.address(bytes.fromhex("1078330000400071")) == "10 78330000400071"
        assert formats.address(bytes.fromhex("d700330000400071")) == "330000400071"
        assert formats.unit("m3") == "m³"
        assert formats.isoday(until) == "2026-11-01"
        assert formats.iso(until) == "2026-11-01T00:00+08:00"
