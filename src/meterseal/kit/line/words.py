"""Beside the path: one unit of a line in a few words, for the screen and for plain lines.

It decodes nothing itself.
"""

from __future__ import annotations

from meterseal.kit.line.entries import Entry
from meterseal.kit.line.overhear import Overhearer
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import printed

WAYS = {"down": "→", "up": "←"}


def summary(entry: Entry, *, beside: bool = False) -> str:
    """Function, identifier and first reading, or that it is no frame; `beside` its request, what it adds to that."""
    frame = entry.frame
    if frame is None:
        return f"no frame, {len(entry.raw)} bytes"
    meaning = interpret(frame)
    said = [] if beside else [meaning.function + (f" {meaning.di_text}" if meaning.di_text else "")]
    if meaning.error:
        said.append("ERROR")
    for name, value in meaning.readings.items():
        shown = "?" if value.shown is None else value.shown
        said.append(f"{name} {shown} {value.unit or ''}".rstrip())
        break
    return "  ".join(said) or "done"


def meter_of(entry: Entry) -> str:
    """The printed number of the meter that a unit is to or from."""
    frame = entry.frame
    return "" if frame is None else printed(frame.address)


def shown_hex(raw: bytes, most: int = 20) -> str:
    """Hex in pairs, cut where it is long."""
    return raw[:most].hex(" ").upper() + (" …" if len(raw) > most else "")


def line_of(entry: Entry, begun: int, overhearer: Overhearer) -> str:
    """One line of a plain timeline."""
    frame = entry.frame
    heard = overhearer.hear(frame) if frame is not None else ""
    said = (
        f"{(entry.at - begun) / 1000:9.3f} {WAYS[entry.way]} {shown_hex(entry.raw, 400)}   {summary(entry)}"
    )
    if entry.note:
        said += f"  [{entry.note}]"
    return "\n".join([said, *(f"            {line}" for line in heard.splitlines())])
