"""Station MDMS, the receiver's side of a hand-over: every delivery read again, to show that nothing is missing or changed.

It writes nothing and asks no system. What it reads may be anybody's: a file of readings is taken apart by a process of its
own with bounded memory (`rowkeys`), and what is counted lies on the disk where it is much (`counting`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from meterseal.errors import DataError, LocalError
from meterseal.mdms.export.counting import Distinct
from meterseal.mdms.export.handover import (
    MANIFEST,
    MULTIPLIERS,
    READINGS,
    Manifest,
    changed,
    digest_of,
    directory_of,
    manifests,
)
from meterseal.mdms.export.rowkeys import RowKeys

_OURS = frozenset((MANIFEST, MULTIPLIERS, READINGS))


class Held(Struct, frozen=True, kw_only=True):
    """What a directory of deliveries holds: how many, up to which entry, readings carried and distinct ones; the SHA-256 of
    the newest manifest, and what that one says of the store's ledger.
    """

    store: str
    deliveries: int
    through: int
    carried: int
    distinct: int
    manifest: str
    leaves: int
    root: str


def check(root: Path, manifest: str = "") -> Held:
    """Read every delivery again and show that nothing is missing, changed, or there twice; with `manifest`, that the
    newest one is the one of that SHA-256.

    Raises DataError `handover.missing`, `handover.changed`, `handover.incomplete`, naming the delivery; LocalError
    `handover.room` where what is counted finds no room, `handover.process`.
    """
    accounts: list[Manifest] = []
    newest = ""
    try:
        with Distinct() as distinct, RowKeys() as keys:
            for account, digest in manifests(root):
                _whole(root / directory_of(account.number), account, keys, distinct)
                accounts.append(account)
                newest = digest
            told = distinct.told(len(accounts))
    except OSError as error:  # of what is counted: each file of a delivery says its own
        raise LocalError(
            "handover.room",
            f"The deliveries cannot be counted: {error.strerror}. Free some space, or name another directory in TMPDIR; "
            "nothing was changed.",
        ) from error
    if not accounts:
        raise DataError("handover.missing", f"{root} holds no delivery.")
    _no_other(root, len(accounts))
    seen = _complete(accounts, told)
    if manifest and newest != manifest.lower():
        raise DataError(
            "handover.changed",
            f"The newest delivery is {accounts[-1].number}, and its manifest is not the one that you name: something was "
            "taken off the end or added, or all of it is another one. Ask for all of them anew.",
        )
    account = accounts[-1]
    return Held(
        store=account.store,
        deliveries=account.number,
        through=account.through,
        carried=sum(one.readings for one in accounts),
        distinct=seen,
        manifest=newest,
        leaves=account.leaves,
        root=account.root,
    )


def _whole(folder: Path, account: Manifest, keys: RowKeys, distinct: Distinct) -> None:
    """Is a delivery what its manifest says? Its rows go to `distinct`."""
    path, beside = folder / READINGS, folder / MULTIPLIERS
    try:
        others = sorted({one.name for one in folder.iterdir()} - _OURS)
    except OSError as error:
        raise DataError("handover.missing", f"{folder} cannot be read: {error.strerror}.") from error
    if others:
        raise DataError(
            "handover.changed",
            f"Delivery {account.number} was changed: {folder / others[0]} was not delivered. Look who put it there, and "
            "take it away.",
        )
    if digest_of(path) != account.sha256:
        raise changed(account.number, f"{path} is not the file that was delivered")
    if account.multipliers != (digest_of(beside) if account.multipliers or beside.exists() else ""):
        raise changed(account.number, f"{beside} is not the file that was delivered")
    rows = 0
    for some in keys.of(path, account.readings):
        rows += len(some)
        distinct.add(account.number - 1, some)
    if rows != account.readings:
        holds = f"more than {account.readings}" if rows > account.readings else f"{rows}"
        raise changed(account.number, f"it says {account.readings} readings and holds {holds}")


def _complete(accounts: list[Manifest], told: Iterable[tuple[int, int]]) -> int:
    """How many distinct readings all of them hold, which after each delivery are as many as its manifest says."""
    seen = 0
    for account, (new, twice) in zip(accounts, told, strict=True):
        if twice:
            raise changed(
                account.number, f"it says {account.readings} readings and holds {account.readings - twice}"
            )
        seen += new
        if seen != account.total + account.removed - accounts[0].removed:
            raise DataError(
                "handover.incomplete",
                f"After delivery {account.number} the store held {account.total} readings, and these deliveries hold "
                f"{seen}. Ask for all of them anew into an empty directory.",
            )
    return seen


def _no_other(root: Path, deliveries: int) -> None:
    """DataError `handover.changed` for a further directory that whoever loads all of them would take for a delivery."""
    names = {directory_of(number) for number in range(1, deliveries + 1)}
    for path in sorted(root.iterdir()):
        if path.name not in names and not path.name.startswith(".") and os.path.lexists(path / READINGS):
            raise DataError(
                "handover.changed", f"{path} holds readings and is none of the deliveries. Take it away."
            )
