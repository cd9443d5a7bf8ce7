"""Station wire, the text: bytes that a pasted text stands for, as hex digits, as a dump or as Python prints bytes.

It tells no frame from noise itself (codec does): of several readings the one in which a whole frame is found wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from meterseal.wire.codec import Found, search, weigh

LONGEST_TEXT: Final = 1 << 20
"""Characters of a text that are looked at."""
CUT: Final = f"only the first {LONGEST_TEXT:,} characters of the input were looked at"
MOST_DUMPS: Final = 64
"""Dumps in one text that are tried."""
MOST_REPEATED: Final = 4096
"""Bytes that a `*` of a dump may stand for."""

_WORD = re.compile(r"[0-9A-Za-z]+")
_RUN = re.compile(r"[0-9A-Fa-f]{2,}")
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")
_LITERAL = re.compile(
    r"""\bb(?:'([^'\\\r\n]*(?:\\.[^'\\\r\n]*)*)'|"([^"\\\r\n]*(?:\\.[^"\\\r\n]*)*)")""", re.ASCII
)
_ESCAPE = re.compile(r"""\\(?:x([0-9A-Fa-f]{2})|([\\'"nrt])|())""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_LINE = re.compile(r"[ \t]*([0-9A-Fa-f]{4,16})(:?)(?:[ \t]+(.*))?")
_GROUPS = re.compile(r"(?:(?:[0-9A-Fa-f]{2}){1,8} {1,2}(?! ))*(?:[0-9A-Fa-f]{2}){1,8}(?=$|\s)")
_WORDS = re.compile(r"[0-9A-Fa-f]{4}(?: [0-9A-Fa-f]{4})*\s*")

Line = tuple[str, bytes, bool]
"""One line of a dump: its offset as written, its bytes, whether they are 16-bit words of an Intel machine."""


class TextRead(Struct, frozen=True):
    """The bytes a text was read as and what a search in them came to.

    `odd`: its hex digits are odd in number. `cut` says what was not looked at, or is empty.
    """

    buf: bytes
    found: Found
    odd: bool = False
    cut: str = ""


def hex_digits(text: str) -> str:
    """The hex digits of a text: whole hex words, without 0x, and the hex runs inside other words."""
    found: list[str] = []
    for word in _WORD.findall(text):
        if word[:2] in ("0x", "0X") and _HEX.match(word[2:]):
            found.append(word[2:].zfill(2))
        elif word[0] in "xX" and _HEX.match(word[1:]):
            found.append(word[1:].zfill(2))
        elif _HEX.match(word):
            found.append(word)
        else:
            found += _RUN.findall(word)
    return "".join(found)


def read_text(text: str, *, cut: bool = False) -> TextRead:
    """What a text says: the first reading with a whole frame, else the one with the likeliest fault.

    Dumps and Python's bytes count only where the text has their strict form. `cut` says that the caller left out
    what came behind.
    """
    cut = cut or len(text) > LONGEST_TEXT
    text = text[:LONGEST_TEXT]
    note = CUT if cut else ""
    shaped, weight = TextRead(b"", search(b"")), 0
    for buf in (*_literals(text), *_dumps(text)):
        found = search(buf)
        if found.frame is not None:
            return TextRead(buf, found, cut=note)
        if weigh(buf, found.trial) > weight:
            shaped, weight = TextRead(buf, found, cut=note), weigh(buf, found.trial)
    digits = hex_digits(text)
    buf, found = _search_digits(digits)
    if found.frame is None and weight and weight >= weigh(buf, found.trial):
        return shaped
    return TextRead(buf, found, odd=len(digits) % 2 == 1, cut=note)


def search_text(text: str) -> tuple[bytes, Found]:
    """The bytes of a text and what a search in them came to."""
    read = read_text(text)
    return read.buf, read.found


def _search_digits(digits: str) -> tuple[bytes, Found]:
    """Hex digits read from the first or the second on, for text in front with an odd number of hex letters.

    An odd digit at the end is left out; a whole frame in either reading wins.
    """
    first, second = (
        bytes.fromhex(digits[shift : len(digits) - (len(digits) - shift) % 2]) for shift in (0, 1)
    )
    found = search(first)
    if found.frame is not None:
        return first, found
    other = search(second)
    better = other.trial.fault != "wire.no-frame" and weigh(second, other.trial) > weigh(first, found.trial)
    if other.frame is not None or better:
        return second, other
    return first, found


def _literals(text: str) -> Iterator[bytes]:
    """The bytes of all `b'…'` of a text together, as Python and its loggers print them."""
    raw = bytearray()
    for single, double in _LITERAL.findall(text):
        body: str = single or double
        if not body.isascii() or any(last == "" and not (x or one) for x, one, last in _ESCAPE.findall(body)):
            return
        raw += _ESCAPE.sub(_unescaped, body).encode("latin-1")
    if raw:
        yield bytes(raw)


def _unescaped(escape: re.Match[str]) -> str:
    pair, one = escape[1], escape[2]
    return chr(int(pair, 16)) if pair else _ESCAPED.get(one, one)


def _dumps(text: str) -> Iterator[bytes]:
    """The bytes of each dump in a text (`hexdump`, `hexdump -C`, `xxd`, `od`): lines whose offsets add up."""
    if "\n" not in text and "0000" not in text:
        return
    run: list[Line] = []
    tried = 0
    for line in (*text.splitlines(), ""):
        parsed = ("*", b"", False) if run and line.strip() == "*" else _dump_line(line)
        if run and (parsed is None or not parsed[0].strip("0")):
            yield from _assembled(run)
            run, tried = [], tried + 1
            if tried >= MOST_DUMPS:
                return
        if parsed is not None:
            run.append(parsed)


def _dump_line(line: str) -> Line | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    offset, colon, rest = match[1], match[2], match[3] or ""
    groups = _GROUPS.match(rest.split("  ", 1)[0] if colon else rest.partition("|")[0])
    if groups is None:
        return None if rest.strip() else (offset, b"", False)
    digits = groups[0].replace(" ", "")
    return offset, bytes.fromhex(digits), not colon and _WORDS.fullmatch(groups[0]) is not None


def _assembled(run: list[Line]) -> Iterator[bytes]:
    for base in (16, 8):
        raw = _added_up(run, base)
        if raw is not None:
            if any(swapped for _, _, swapped in run):
                even = raw + b"\0" * (len(raw) % 2)
                swapped = bytearray(even)
                swapped[::2], swapped[1::2] = even[1::2], even[::2]
                yield bytes(swapped[: _total(run, base)])
            yield raw[: _total(run, base)]
            return


def _total(run: list[Line], base: int) -> int | None:
    """The number of bytes by a last line that is only an offset."""
    return int(run[-1][0], base) - int(run[0][0], base) if not run[-1][1] and run[-1][0] != "*" else None


def _added_up(run: list[Line], base: int) -> bytes | None:
    """The bytes of a dump, or None when its offsets do not add up. A single line is a dump only at offset 0."""
    try:
        places = [None if offset == "*" else int(offset, base) for offset, _, _ in run]
    except ValueError:
        return None
    first = places[0]
    if first is None or (len(run) == 1 and first):
        return None
    raw = bytearray()
    for index, (place, (_, part, _)) in enumerate(zip(places, run, strict=True)):
        if place is None:
            continue
        missing = place - first - len(raw)
        before = run[index - 2][1] if index > 1 and places[index - 1] is None else b""
        if before and 0 < missing <= MOST_REPEATED and missing % len(before) == 0:
            raw += before * (missing // len(before))
        elif missing and not (index == len(run) - 1 and not part and missing == -1):
            return None
        raw += part
    return bytes(raw)
