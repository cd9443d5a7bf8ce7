"""`meterseal handover`: readings for a warehouse in numbered deliveries, and the proof that none of them is missing.

`write` asks a running system; `check` needs nothing but the deliveries, at whoever receives them.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import to_builtins

from meterseal.app.exporting import AskStore, ExportPage, Multipliers, Store
from meterseal.app.operator import as_json
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.waiting import waiting
from meterseal.errors import LocalError
from meterseal.mdms.export.handover import State, deliver, encode
from meterseal.mdms.export.history import as_csv
from meterseal.mdms.export.receiving import check as whole
from meterseal.mdms.export.series import Page, Since
from meterseal.mdms.store.rows import EVER
from meterseal.mesh.rpc import Empty


def write(directory: Path, *, data: Data, json: Json = False) -> int:
    """Write the next delivery: everything that was stored or corrected since the one before it.

    Parameters
    ----------
    directory
        Where the deliveries lie; an empty or new directory begins with everything.
    """
    store = ask(data, "store", AskStore(), Store, timeout=LONG_RUN)

    def pages(entries: Since, tell: Callable[[str], None]) -> Iterator[Page]:
        request, readings = ExportPage(since=0, until=EVER, entries=entries), 0
        while True:
            page = ask(data, "export", request, Page, timeout=LONG_RUN)
            readings += sum(len(one.end_at) // 8 for one in page.series)
            tell(f"{readings:,} readings")
            yield page
            if page.after is None:
                return
            request = msgspec.structs.replace(request, after=page.after)

    def state(leaves: int) -> State:
        found = ask(data, "store", AskStore(leaves=leaves), Store, timeout=LONG_RUN)
        return State(found.removed, found.leaves, found.root, found.root_then)

    def multipliers() -> bytes:
        known = ask(data, "multipliers", Empty(), Multipliers)
        return as_csv(known.held) if known.stated else b""

    now = time.time_ns() // 1_000_000
    with waiting(f"writing to {directory}") as tell:
        manifest = deliver(
            directory,
            store.store_id,
            store.sequence,
            lambda entries: pages(entries, tell),
            now,
            state,
            multipliers,
        )
    facts = to_builtins(manifest) | {"manifest": hashlib.sha256(encode(manifest)).hexdigest()}
    show(as_json(facts), as_json=json, lines=_written)
    return 0


def _written(manifest: dict[str, Any]) -> list[str]:
    return [
        f"delivery {manifest['number']}: {manifest['readings']} readings, through journal entry {manifest['through']}; "
        f"the store holds {manifest['total']}",
        f"its manifest is {manifest['manifest']}: whoever receives it checks with --manifest that it is this one",
    ]


def check(directory: Path, *, manifest: str = "", json: Json = False) -> int:
    """Show that deliveries are whole: none missing, none changed, and as many readings as the store said.

    Who can write all of them can make others that hang together, or take the last ones away: only with --manifest are they
    the ones that were written.

    Parameters
    ----------
    directory
        Where the deliveries lie.
    manifest
        SHA-256 of the newest manifest as `handover write` printed it, told by another way.
    """
    if not directory.is_dir():
        raise LocalError("use.file", f"{directory} is no directory of deliveries.")
    if manifest and not re.fullmatch(r"[0-9a-fA-F]{64}", manifest):
        raise LocalError("use.digest", f"`{manifest[:80]}` is no SHA-256: write its 64 hex digits.")
    show(as_json(whole(directory, manifest)), as_json=json, lines=_held)
    return 0


def _held(held: dict[str, Any]) -> list[str]:
    return [
        f"{held['deliveries']} deliveries of {held['store']} through journal entry {held['through']}: whole",
        f"{held['distinct']} readings, {held['carried'] - held['distinct']} of them told again because they were corrected",
        f"the newest manifest is {held['manifest']}",
    ]
