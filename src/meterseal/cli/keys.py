"""`meterseal keys …`: rotation, lists, backup and restore, over the security service's own socket.

It decides nothing and keeps no key; officers and their orders are `keys_orders`, the quorum is `keys_quorum`.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from meterseal.app import config
from meterseal.app.door import KEYS, socket_path
from meterseal.app.lock import in_use
from meterseal.app.operator import as_json
from meterseal.app.system import now_ms
from meterseal.cli.operate import at, between, over, plain
from meterseal.errors import LocalError
from meterseal.mesh.rpc import Connection
from meterseal.security.sdk import SecuritySdk

Flag = Parameter(negative=())
T = TypeVar("T")
HOUR = 3_600_000
Hours = Annotated[int, between(1, 168)]
"""How long a request holds: officers at two places have a week."""


def ask(data: Path, call: Callable[[SecuritySdk], Awaitable[T]], *, timeout: float = 120.0) -> T:
    """Calls to the running security service; errors as `over`."""
    layout = config.Layout(data)
    return over(
        layout,
        lambda: Connection.unix(socket_path(layout, KEYS), timeout=timeout),
        lambda way: call(SecuritySdk(way)),
        "The security service",
    )


def epoch(data: Path) -> bytes:
    """What the ids of new requests begin with; empty while the system is down, or was never restored."""
    return ask(data, lambda sdk: sdk.epoch()) if in_use(config.Layout(data)) else b""


def say(facts: Any, *, as_json_text: bool, lines: list[str]) -> int:
    """One JSON document, or lines for a person."""
    print(as_json(facts) if as_json_text else "\n".join(map(plain, lines)))
    return 0


def secret(file: Path | None, prompt: str) -> bytes:
    """A passphrase: from a file of mode 0600, or typed; LocalError `use.passphrase` when there is neither."""
    if file is not None:
        try:
            if file.stat().st_mode & 0o077:
                raise LocalError("use.passphrase", f"{file} can be read by others. Run: chmod 600 {file}")
            return file.read_bytes().strip()
        except OSError as error:
            raise LocalError("use.passphrase", f"{file} cannot be read: {error.strerror}.") from None
    if not sys.stdin.isatty():
        raise LocalError(
            "use.passphrase", "Nobody can type a passphrase here; name the file that holds it (see --help)."
        )
    return getpass.getpass(prompt).encode()


def rotate(
    kind: str,
    *,
    data: Path,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Put a new version of a kind of key into use, while everything runs.

    Parameters
    ----------
    kind
        diak, session-wraps, data-keys, audit, acts, platform, ledger or vault-kek (a new salt for the same passphrase).
    passphrase_file
        For vault-kek, where the passphrase of the vaults lies, when not beside the data directory.
    """
    present = system_passphrase(data, passphrase_file) if kind == "vault-kek" else b""
    rotated = ask(data, lambda sdk: sdk.rotate(kind, present, present))
    named = f"{kind} version {rotated.version}" if rotated.version else kind
    return say(
        rotated,
        as_json_text=json,
        lines=[f"{named} is in use. What still has to move: meterseal keys moving"],
    )


def system_passphrase(data: Path, passphrase_file: Path | None) -> bytes:
    """The passphrase of the vaults, from where the system keeps it."""
    layout = config.Layout(data, passphrase_file)
    return config.take_passphrase(layout, create=False, keyring=config.load(layout).keyring)


def list_keys(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """List every key: vault, version, state, check value, uses and limit."""
    usage = ask(data, lambda sdk: sdk.usage())
    lines = [
        f"{one.vault:<5} {one.id:<14} {one.version:>4} {one.state:<10} {one.check_value.hex()} "
        f"{one.used:>12} of {one.limit if one.limit < 1 << 62 else 'any'}"
        for one in usage.keys
    ]
    return say(usage, as_json_text=json, lines=lines)


def moving(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Count what still stands on an old version of each kind of key."""
    found = ask(data, lambda sdk: sdk.moving())
    lines = [
        f"{one.kind:<20} {one.old:>9} of {one.total} on an older version than {one.newest}"
        f"{f', counted {at(one.reported_at)}' if one.reported_at is not None else ''}"
        f"{'' if one.complete else ', not all counted yet'}"
        for one in found
    ]
    return say(list(found), as_json_text=json, lines=lines)


def backup(
    *,
    data: Path,
    to: Path,
    backup_passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Write one encrypted file with all keys, certificates, officers and the audit log, while the service runs.

    Parameters
    ----------
    to
        The new file.
    backup_passphrase_file
        Passphrase of the backup, mode 0600; typed when absent. Keep it elsewhere than the backup.
    """
    phrase = secret(backup_passphrase_file, "Passphrase of the backup: ")
    target = os.path.abspath(to)  # noqa: PTH100  # the service must not follow a link that we resolved
    done = ask(data, lambda sdk: sdk.backup(target, phrase), timeout=3600.0)
    lines = [f"{done.path}: {done.modules} modules, {done.entries} audit entries, {done.bytes} bytes"]
    return say(done, as_json_text=json, lines=lines)


def restore(
    file: Path,
    *,
    data: Path,
    backup_passphrase_file: Path | None = None,
    passphrase_file: Path | None = None,
    drill: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Bring a backup back into a data directory whose system is down, or prove on a copy that it would come back.

    Parameters
    ----------
    file
        The backup.
    data
        Where the keys go; they must not be there already. With --drill nothing of it is touched.
    backup_passphrase_file
        Passphrase of the backup, mode 0600; typed when absent.
    passphrase_file
        Passphrase that the vaults had when the backup was made; by default DATA.passphrase.
    drill
        Restore into a temporary directory, open what the service sealed for this backup, report, and remove it.
    """
    from meterseal.security import restoring

    layout = config.Layout(data, passphrase_file)
    phrase = secret(backup_passphrase_file, "Passphrase of the backup: ")
    passphrase = config.read_passphrase(layout, create=False)
    if drill:
        report = asyncio.run(restoring.drill(file, phrase, passphrase, now_ms()))
        verdict = "comes back" if report.ok else "DOES NOT come back"
        lines = [
            f"The backup of {at(report.at)} {verdict}: {report.modules} modules, {report.entries} audit entries."
        ]
        say(report, as_json_text=json, lines=lines)
        return 0 if report.ok else 1
    if in_use(layout):
        raise LocalError(
            "app.in-use", f"The system of {layout.root} is running. Stop it first; nothing was restored."
        )
    manifest = restoring.restore(file, layout.root, phrase, passphrase, now_ms())
    for folder in (
        layout.platform,
        layout.measurements,
    ):  # a store that is brought back separately, or a new one
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = {"at": manifest.at, "modules": manifest.modules, "entries": manifest.entries}
    lines = [
        f"Keys of {at(manifest.at)} are back in {layout.root}: {manifest.modules} modules. Requests that officers "
        "signed before are not taken; make new ones while the system runs.",
        "Once it runs, take its log for the right one: meterseal keys head --accept",
    ]
    return say(facts, as_json_text=json, lines=lines)
