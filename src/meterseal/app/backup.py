"""The backup of a platform: what one moment of it held, copied to a place and named in a list.

It takes no moment (`mdms.moment`), knows no file of a place (`app.backup_place`) and brings nothing back (`app.restoring`).

Segments, journal, leaves and forecasts leave as they lie at rest, sealed; the control store as SQLite copies it, its data
keys wrapped. So a backup opens with the security service that the platform has (and its own backup, `keys backup`), and
holds no key of its own. The list is sealed under the store's data key of that moment: nobody without it makes another one.
"""

from __future__ import annotations

import time

from msgspec import Struct

from meterseal.app.backup_list import FORMAT, Part, Point
from meterseal.app.backup_place import Place
from meterseal.control.engine import HEAD
from meterseal.errors import EngineError, MetersealError
from meterseal.mdms.moment import Moment

CONTROL = "control.db"


class Written(Struct, frozen=True, kw_only=True):
    """What a backup wrote: bytes and files altogether, and of these new ones; what was removed of older backups."""

    id: str
    at: int
    sequence: int
    files: int
    bytes: int
    new_files: int
    new_bytes: int
    missing: tuple[str, ...]
    points: int
    removed: int
    unpruned: str
    """Why no older backup was removed, where that was asked for."""
    seconds: float


def write(target: Place, moment: Moment, at: int, keep: int) -> Written:
    """Copy a moment to a place that is being written; with `keep` only so many backups stay, this one among them.

    Raises EngineError `backup.*`, DataError `backup.control`: then the backups from before are as they were.
    """
    begun = time.monotonic()
    known = target.known()
    parts, new_files, new_bytes = [], 0, 0
    target.require_room(moment, known)
    digest, size, wrote = target.take_control(moment.control)
    moment.control.close()  # the rest may take hours
    parts.append(Part(CONTROL, size, digest, ""))
    new_files, new_bytes = int(wrote > 0), wrote
    for held in moment.files:
        same = known.get(held.fact) if held.fact else None
        if same is not None and same.size == held.size:
            parts.append(Part(held.name, held.size, same.digest, held.fact, held.offset))
            continue
        try:
            digest, wrote = target.take(held)
        except FileNotFoundError as error:
            raise EngineError(
                "backup.disk",
                f"{held.name} went away while it was copied. No backup was made; begin again.",
            ) from error
        parts.append(Part(held.name, held.size, digest, held.fact, held.offset))
        new_files, new_bytes = new_files + (wrote > 0), new_bytes + wrote
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at / 1000))
    point = Point(
        format=FORMAT,
        id=f"{target.following():06d}-{stamp}",
        at=at,
        store_id=moment.store_id,
        sequence=moment.sequence,
        leaves=moment.leaves,
        control=HEAD,
        missing=moment.missing,
        parts=tuple(parts),
    )
    target.finish(point, moment.ring)
    removed, unpruned = 0, ""
    try:
        removed = target.prune(keep) if keep else 0
    except MetersealError as error:  # the backup counts all the same
        unpruned = error.message
    return Written(
        id=point.id,
        at=at,
        sequence=point.sequence,
        files=len(parts),
        bytes=sum(part.size for part in parts),
        new_files=new_files,
        new_bytes=new_bytes,
        missing=point.missing,
        points=len(target.ids()),
        removed=removed,
        unpruned=unpruned,
        seconds=round(time.monotonic() - begun, 3),
    )
