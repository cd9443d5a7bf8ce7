"""`meterseal keys …`: rotation, lists, backup and restore, over the security service's own socket.

It decides nothing and keeps no key; officers are `keys_officers`, their orders `keys_orders`, the quorum is `keys_quorum`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from meterseal.app import config
from meterseal.app.clock import now_ms
from meterseal.app.lock import in_use
from meterseal.cli.answers import say
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import ask_keys
from meterseal.cli.passphrases import secret, system_passphrase
from meterseal.cli.times import at
from meterseal.errors import LocalError


def rotate(
    kind: str,
    *,
    data: Data,
    passphrase_file: Path | None = None,
    json: Json = False,
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
    rotated = ask_keys(data, lambda sdk: sdk.rotate(kind, present, present))
    named = f"{kind} version {rotated.version}" if rotated.version else kind
    return say(
        rotated,
        as_json=json,
        lines=[f"{named} is in use. What still has to move: meterseal keys moving"],
    )


def list_keys(*, data: Data, json: Json = False) -> int:
    """List every key: vault, version, state, check value, uses and limit."""
    usage = ask_keys(data, lambda sdk: sdk.usage())
    lines = [
        f"{one.vault:<5} {one.id:<14} {one.version:>4} {one.state:<10} {one.check_value.hex()} "
        f"{one.used:>12} of {one.limit if one.limit < 1 << 62 else 'any'}"
        for one in usage.keys
    ]
    return say(usage, as_json=json, lines=lines)


def transport(*, data: Data, json: Json = False) -> int:
    """Show the SM2 point that a key is sealed to (SM2 envelope, C1 then C3 then C2) before `keys request import-key`."""
    found = ask_keys(data, lambda sdk: sdk.transport_key())
    lines = [
        f"Version {found.version}: {found.point.hex()}",
        "Check value: the first 3 bytes of SM4 of 16 zero bytes under the key. Then: meterseal keys request import-key",
    ]
    return say(found, as_json=json, lines=lines)


def moving(*, data: Data, json: Json = False) -> int:
    """Count what still stands on an old version of each kind of key."""
    found = ask_keys(data, lambda sdk: sdk.moving())
    lines = [
        f"{one.kind:<20} {one.old:>9} of {one.total} on an older version than {one.newest}"
        f"{f', counted {at(one.reported_at)}' if one.reported_at is not None else ''}"
        f"{'' if one.complete else ', not all counted yet'}"
        for one in found
    ]
    return say(list(found), as_json=json, lines=lines)


def backup(
    *,
    data: Data,
    to: Path,
    backup_passphrase_file: Path | None = None,
    json: Json = False,
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
    done = ask_keys(data, lambda sdk: sdk.backup(target, phrase), timeout=3600.0)
    lines = [f"{done.path}: {done.modules} modules, {done.entries} audit entries, {done.bytes} bytes"]
    return say(done, as_json=json, lines=lines)


def restore(
    file: Path,
    *,
    data: Path,
    backup_passphrase_file: Path | None = None,
    passphrase_file: Path | None = None,
    drill: bool = False,
    json: Json = False,
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
        return say(report, as_json=json, lines=lines, good=report.ok)
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
    return say(facts, as_json=json, lines=lines)
