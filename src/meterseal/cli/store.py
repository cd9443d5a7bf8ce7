"""`meterseal store …`: backups of the platform's data, bringing one back, and whether every stored piece still opens.

It asks the running system and formats; only a restore works on files itself, while the system is down.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from meterseal.app import config
from meterseal.app.backup import Written
from meterseal.app.backup_place import Place
from meterseal.app.keeping import Backup, DrillBackup
from meterseal.app.restoring import Drill
from meterseal.app.restoring import restore as bring_back
from meterseal.cli.answers import say
from meterseal.cli.arguments import Data, Json, between
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at
from meterseal.errors import LocalError, MetersealError
from meterseal.mdms.integrity import Integrity
from meterseal.mesh.rpc import Empty

_MB = 1_000_000


def backup(
    *,
    data: Data,
    to: Path,
    keep: Annotated[int, between(0, 10_000)] = 0,
    json: Json = False,
) -> int:
    """Back up measurements, ledger, control store and firmware while readings go on coming.

    Everything that was acknowledged before is in it. Files that lie there from an earlier backup are not copied again.
    It is sealed as the data directory is, and opens only with the security service's keys: back these up as well (keys
    backup).

    Parameters
    ----------
    to
        A directory of its own for backups, best on another machine's disk.
    keep
        Remove older backups there, so that this many stay; 0 removes none.
    """
    target = _place(to)
    if target.is_relative_to(os.path.abspath(data)):  # noqa: PTH100  # as it was named, links and all
        raise LocalError("backup.place", f"{to} lies inside {data}. Give a directory on another disk.")
    done = ask(
        data,
        "store_backup",
        Backup(place=str(target), keep=keep),
        Written,
        timeout=LONG_RUN,
        doing="backing up",
    )
    lines = [
        f"{done.id}: {done.files} files, {done.bytes / _MB:.1f} MB, of which {done.new_files} files, "
        f"{done.new_bytes / _MB:.1f} MB are new; {done.points} backups in {target}"
    ]
    lines += [f"{name} was lost before and is not in it. Run: meterseal store check" for name in done.missing]
    if done.unpruned:
        lines.append(f"No older backup was removed: {done.unpruned}")
    return say(done, lines=lines, as_json=json, good=not done.missing and not done.unpruned)


def list_backups(place: Path, *, json: Json = False) -> int:
    """List the backups of a directory, oldest first.

    Parameters
    ----------
    place
        The directory that `store backup --to` was given.
    """
    here = Place(_place(place))
    if not here.root.is_dir():
        raise LocalError(
            "use.file", f"{place} is no directory; name the one that `store backup --to` was given."
        )
    facts: list[dict[str, Any]] = []
    lines = []
    for name in here.ids():
        try:
            one = here.point(name)[0]
        except MetersealError as error:  # the others are there all the same
            facts.append({"id": name, "error": {"code": error.code, "message": error.message}})
            lines.append(f"{name}  {error.code}: {error.message}")
            continue
        size = sum(part.size for part in one.parts)
        facts.append(
            {
                "id": name,
                "at": one.at,
                "store_id": one.store_id,
                "sequence": one.sequence,
                "leaves": one.leaves,
                "files": len(one.parts),
                "bytes": size,
            }
        )
        lines.append(
            f"{name}  {at(one.at)}  journal {one.sequence}, {one.leaves} leaves, {len(one.parts)} files"
        )
    good = not any("error" in one for one in facts)
    return say(facts, lines=lines or ["no backup"], as_json=json, good=good)


def restore(
    place: Path,
    *,
    data: Path,
    backup: str = "",
    drill: bool = False,
    json: Json = False,
) -> int:
    """Bring a backup back into a data directory whose system is down, or prove on a copy that it would come back.

    Parameters
    ----------
    place
        The directory that `store backup --to` was given.
    data
        Where the platform's data go; none may be there. With --drill the running system's directory, where a copy is
        made and removed.
    backup
        Which one, as `store list` names it; the newest when left out.
    drill
        Bring it back beside the running platform, start a store there with the security service's keys, open every piece,
        report, and remove it.
    """
    target = _place(place)
    if drill:
        request = DrillBackup(place=str(target), name=backup)
        found = ask(data, "store_drill", request, Drill, timeout=LONG_RUN, doing="opening the backup")
        verdict = "comes back" if found.ok else "DOES NOT come back whole"
        lines = [f"The backup of {at(found.at)} {verdict}: journal {found.sequence}, {found.leaves} leaves."]
        if not found.same:
            lines.append("What came back is not at the journal entry and the leaf that the backup names.")
        lines += [f"{name} was lost before the backup and is not in it." for name in found.missing]
        return say(found, lines=lines + _integrity(found.integrity), as_json=json, good=found.ok)
    point = _brought_back(target, config.Layout(data), backup)
    lines = [
        f"The platform of {at(point.at)} is back in {data}: journal entry {point.sequence}, {point.leaves} leaves of "
        f"{point.store_id}.",
        "The keys are not in it: they must be those that this store was sealed with (meterseal keys restore).",
        "Once it runs, see that all of it opens (store check). If the ledger says that its end was cut off, what was "
        "signed after this backup is lost, and two officers order ledger-reset.",
    ]
    facts = {"id": point.id, "at": point.at, "sequence": point.sequence, "missing": point.missing}
    return say(facts, lines=lines, as_json=json)


def _brought_back(target: Path, layout: config.Layout, name: str) -> Any:
    import asyncio

    from meterseal.app.lock import take_lock

    if not layout.root.exists():
        Place(target).point(name)  # so that no directory is made where nothing comes back

    async def run() -> Any:
        lock = await take_lock(layout)  # nobody starts the system meanwhile
        try:
            return bring_back(Place(target), layout, name)
        finally:
            os.close(lock)

    return asyncio.run(run())


def check(*, data: Data, json: Json = False) -> int:
    """Open every stored piece once and name what is damaged and what is lost by it; status 1 when anything is.

    Whether all of it is what was accepted says `ledger verify`."""
    found = ask(data, "store_check", Empty(), Integrity, timeout=LONG_RUN, doing="opening every stored piece")
    return say(found, lines=_integrity(found), as_json=json, good=found.good)


def _integrity(found: Integrity) -> list[str]:
    lines = [
        f"{found.segments} segments in {found.chunks} parts with {found.readings} versions of readings, {found.entries} "
        f"entries in the journal, {found.leaves} leaves and their tree, {found.forecasts} forecasts, control store with "
        f"{found.sealed} sealed values"
    ]
    for one in found.damages:
        lost = ""
        if one.readings:
            of = f" of {one.channels} channels" if one.channels else ""
            lost = f" {one.readings} readings{of} between {at(one.since)} and {at(one.until)} cannot be read."
        lines.append(f"{one.code}: {one.where}: {one.sentence}{lost}")
    if found.more:
        lines.append(f"and {found.more} more")
    if not found.damages:
        lines.append("everything opens; whether it is what was accepted: meterseal ledger verify")
    return lines


def _place(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # the service must not follow a link that we resolved
