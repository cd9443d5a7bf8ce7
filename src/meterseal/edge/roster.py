"""Station edge, the roster (抄表档案): which meters a concentrator reads and carries for, as set up and as changed since.

It asks no meter. A change is on one sealed page before it holds; a setup with another list ends what was changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from meterseal.crypto.symmetric import equal, sm3
from meterseal.edge.nv import SealedNv
from meterseal.wire.frame import address_of, is_one
from meterseal.wire.profile import models
from meterseal.wire.roster import Listed

PAGE = "roster"
MOST_METERS = 2_000


def is_of(model: str, device_id: bytes) -> bool:
    """Whether there is such a model, and it speaks this meter's protocol: asked otherwise it would stop its bus."""
    known = models().by_name.get(model)
    return known is not None and known.protocol == address_of(device_id)[0]


class MeterAt(Struct, frozen=True, kw_only=True):
    """One meter behind the concentrator: its device id, whether it has no module (`plain`), and the name of its model
    where its number does not tell.
    """

    device_id: bytes
    plain: bool = False
    model: str = ""


class Roster:
    """The meters of each bus, of one concentrator."""

    def __init__(self, store: SealedNv, risers: Sequence[Sequence[MeterAt]]) -> None:
        self._store = store
        packed = msgspec.msgpack.encode(risers)
        self._setup = sm3(packed)
        page = store.read(PAGE) or b""
        changed = equal(page[: len(self._setup)], self._setup) if len(page) > len(self._setup) else False
        if page and not changed:
            store.write({PAGE: None})
        kept = page[len(self._setup) :] if changed else packed
        self.risers = msgspec.msgpack.decode(kept, type=list[list[MeterAt]])

    def refuses(self, device_id: bytes, listed: Listed) -> str:
        """Why a change cannot be made; empty where it can. One that changes nothing can."""
        if listed.what == "remove":
            return ""
        if listed.bus >= len(self.risers):
            return "there is no such bus"
        if not is_one(device_id):
            return "this number is that of many meters"
        if listed.model and not is_of(listed.model, device_id):
            return "no such model of such meters"
        if not listed.model and models().find(device_id) is None:
            return "no model is of such meters"
        others = sum(one.device_id != device_id for riser in self.risers for one in riser)
        return "too many meters" if others >= MOST_METERS else ""

    def change(self, device_id: bytes, listed: Listed) -> None:
        """Write it down; it holds from now on, after a power cut too."""
        risers = [[one for one in riser if one.device_id != device_id] for riser in self.risers]
        if listed.what != "remove":
            plain = listed.what == "add"
            risers[listed.bus].append(MeterAt(device_id=device_id, plain=plain, model=listed.model))
        self._store.write({PAGE: self._setup + msgspec.msgpack.encode(risers)})
        self.risers = risers
