"""What concentrators are to be told of their lists after a change of meters: who is behind them now, and who no more.

Pure. It tells nobody: an officer signs each word, and it waits for its concentrator (`things.words`).
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.link.act_rows import Act
from meterseal.things.exchange import Known
from meterseal.things.fleet import Installation
from meterseal.wire.profile import models


class Listing(Struct, frozen=True, kw_only=True):
    """One change of whom a concentrator reads: the act with its fields, and whether the meter is behind another one now."""

    concentrator_id: bytes
    device_id: bytes
    act: Act
    given: dict[str, str] = {}
    elsewhere: bool = False


def left_behind(removed: bytes, old: Known | None, new: Installation | None) -> bytes:
    """The concentrator that has the meter `removed` no more; empty where it stays behind it or never was behind one."""
    if old is None or not removed:
        return b""
    behind = old.installation.concentrator_id
    stays = new is not None and (new.device_id, new.concentrator_id) == (removed, behind)
    return b"" if stays else behind


def listings(removed: bytes, old: Known | None, new: Installation | None) -> list[Listing]:
    """What is to be told, of the meter that went first; nothing where no list changes."""
    told = []
    moved = new is not None and new.device_id == removed
    if behind := left_behind(removed, old, new):
        told.append(Listing(concentrator_id=behind, device_id=removed, act="roster-remove", elsewhere=moved))
    if new is None or not new.concentrator_id:
        return told
    if moved and not behind and old is not None and old.installation.riser == new.riser:
        return told
    by_number = models().find(new.device_id)
    given = {"bus": str(new.riser or 0)}
    if by_number is None or by_number.name != new.profile:
        given["model"] = new.profile
    act: Act = "roster-add" if new.suite is None else "roster-seal"
    told.append(Listing(concentrator_id=new.concentrator_id, device_id=new.device_id, act=act, given=given))
    return told
