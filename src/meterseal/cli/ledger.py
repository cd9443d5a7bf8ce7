"""`meterseal ledger …`: checkpoints, proofs, and the walk that compares the whole store with them.

It asks the running system and formats; a proof that it prints it has checked before.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from meterseal.app import operator
from meterseal.app.comparing import Since
from meterseal.app.config import Layout
from meterseal.app.system import operator_connection
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, between
from meterseal.cli.calls import LONG_RUN, ask, over
from meterseal.cli.waiting import waiting
from meterseal.crypto import merkle
from meterseal.errors import DataError, LocalError
from meterseal.mesh.rpc import Connection, Empty
from meterseal.people.ledger import LedgerConsistency, LedgerInclusion
from meterseal.security.checkpoints import read

LONGEST = 16_384


def checkpoint(*, data: Data, to: Path | None = None, json: Json = False) -> int:
    """Print the newest checkpoint, signed anew when the ledger has grown. Keep it where the system cannot reach it.

    Parameters
    ----------
    to
        Write it to this new file as well, for `ledger verify --since`.
    """
    answer = ask(data, "ledger_checkpoint", Empty(), operator.Text, timeout=LONG_RUN)
    found = json_module.loads(answer.json)
    if to is not None:
        try:
            with to.open("x", encoding="utf-8") as file:
                file.write(found["note"])
        except OSError as error:
            raise LocalError("use.file", f"{to} cannot be written: {error.strerror}.") from None
    said = read(found["note"])
    facts = {
        **found,
        "store_id": said.store_id,
        "number": said.number,
        "size": said.size,
        "ledger_root": said.root.hex(),
        "at": said.at,
    }
    show(
        json_module.dumps(facts, ensure_ascii=False), as_json=json, lines=lambda _: found["note"].splitlines()
    )
    return 0


def prove(
    leaf: int,
    *,
    data: Data,
    size: Annotated[int, between(0, merkle.LARGEST - 1)] = 0,
    json: Json = False,
) -> int:
    """Prove that a leaf is in the ledger: its hash and the hashes beside its way to the root.

    Parameters
    ----------
    leaf
        Its number, as bills and bundles name it.
    size
        Of the tree, as a checkpoint gives it; the newest one's when nothing is said.
    """
    answer = ask(data, "ledger_inclusion", LedgerInclusion(leaf=leaf, size=size), operator.Text)
    found = json_module.loads(answer.json)
    path = [bytes.fromhex(one) for one in found["path"]]
    if not merkle.included(
        bytes.fromhex(found["hash"]), found["leaf"], found["size"], path, bytes.fromhex(found["root"])
    ):
        raise DataError(
            "ledger.proof", f"The proof of leaf {leaf} does not hold. Run: meterseal ledger verify"
        )
    show(answer.json, as_json=json, lines=_proof)
    return 0


def _proof(found: dict[str, Any]) -> list[str]:
    head = (
        f"leaf {found['leaf']} in a tree of {found['size']}"
        if "leaf" in found
        else (f"{found['old']} leaves with root {found['old_root']} are the beginning of {found['new']}")
    )
    return [
        head,
        *([f"hash {found['hash']}"] if "hash" in found else []),
        *(f"     {one}" for one in found["path"]),
        f"root {found['root'] if 'root' in found else found['new_root']}",
    ]


def consistency(old: Path, *, data: Data, json: Json = False) -> int:
    """Prove that the ledger only grew since a checkpoint; status 1 when it did not.

    Parameters
    ----------
    old
        The file of the older checkpoint.
    """
    kept = read(note_of(old))
    answer = ask(data, "ledger_consistency", LedgerConsistency(old=kept.size), operator.Text)
    found = json_module.loads(answer.json)
    path = [bytes.fromhex(one) for one in found["path"]]
    holds = merkle.consistent(kept.size, kept.root, found["new"], bytes.fromhex(found["new_root"]), path)
    show(
        json_module.dumps({**found, "holds": holds}),
        as_json=json,
        lines=lambda _: (
            _proof(found)
            if holds
            else [f"The ledger of {found['new']} leaves does not begin with those of {old}: it was changed."]
        ),
    )
    return 0 if holds else 1


def verify(*, data: Data, since: Path | None = None, stop: bool = False, json: Json = False) -> int:
    """Compare everything that is stored with the ledger and its signed checkpoints; status 1 when anything was changed.

    Journal, segments, every version of every reading, evidence, checkpoints, tree, audit trails and the rows that decide
    bills, readings, findings and rights are read anew. It goes on in the platform when this command is ended, and the same
    command follows it again.

    Parameters
    ----------
    since
        A checkpoint that was kept elsewhere (`ledger checkpoint --to FILE`): only with one does it show that the whole
        directory, keys and all, was put back to an older copy.
    stop
        End the comparison that is under way, and say where it stood.
    """
    if stop:
        answer = ask(data, "ledger_verify", Since(stop=True), operator.Text)
        show(answer.json, as_json=json, lines=_stopped)
        return 0
    layout, note = Layout(data), note_of(since) if since else ""
    with waiting("comparing everything stored with the ledger") as tell:
        answer = over(
            layout,
            lambda: operator_connection(layout, LONG_RUN),
            lambda way: _followed(way, note, tell),
            "The system",
        )
    found = json_module.loads(answer.json)
    good = not found["faults"]
    show(json_module.dumps({**found, "good": good}, ensure_ascii=False), as_json=json, lines=_verdict)
    return 0 if good else 1


async def _followed(way: Connection, note: str, tell: Callable[[str], None]) -> operator.Text:
    """Ask until there is a verdict, and say meanwhile where it stands."""
    run = 0
    while True:
        answer = await way.call("ledger_verify", Since(note=note, follow=True, run=run), operator.Text)
        found = json_module.loads(answer.json)
        if "stands" not in found:
            return answer
        run = found["run"]
        tell(found["stands"])


def _stopped(found: dict[str, Any]) -> list[str]:
    return [f"ended: {found['stands']}" if found["stopped"] else "no comparison is under way"]


def _verdict(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{found['leaves']} leaves of {found['store_id']}, {found['covered']} under {found['checkpoints']} checkpoints",
        f"{found['rows']} versions of readings in {found['channels']} channels, {found['evidence']} statements of meters, "
        f"{found['journal']} entries in the journal",
    ]
    lines.append(f"{found['written']} rows of the control store are as the platform wrote them")
    if found["written_before"]:
        lines[-1] += (
            f"; {found['written_before']} of them stood before it wrote that down, and are as they were then"
        )
    if found["erased"]:
        lines.append(f"{found['erased']} leaves belong to nobody any more: their salts were destroyed")
    if found["rolled"]:
        lines.append(
            f"{found['rolled']} versions of readings were rolled up by rules that the ledger holds: store retention show"
        )
    lines += [f"{fault['code']}: {fault['where']}: {fault['sentence']}" for fault in found["faults"]]
    if found["more"]:
        lines.append(f"and {found['more']} more")
    if not found["faults"]:
        than = (
            f"as it was since checkpoint {found['since']}"
            if found["since"]
            else "as it was accepted, unless all of it is an older copy (--since FILE)"
        )
        lines.append(f"everything is {than}; root certificate {found['root'][:16]}…")
    return lines


def note_of(path: Path) -> str:
    """The text of a checkpoint's file. LocalError `use.file`."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise LocalError("use.file", f"{path} cannot be read as a checkpoint: {why}.") from None
