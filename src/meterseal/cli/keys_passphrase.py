"""`meterseal keys passphrase`: another passphrase for a system that is down.

It holds no rule; `app.passphrases` changes it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

from meterseal.app import config, passphrases
from meterseal.app.lock import in_use, take_lock
from meterseal.cli.arguments import Json
from meterseal.cli.passphrases import secret, system_passphrase
from meterseal.errors import LocalError


def passphrase(
    *,
    data: Path,
    passphrase_file: Path | None = None,
    new_passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Change the passphrase of the vaults, the TLS keys, the offline root and where it is kept, all or nothing.

    Parameters
    ----------
    data
        Data directory of a system that is down.
    passphrase_file
        Where the passphrase lies, when not beside the data directory.
    new_passphrase_file
        The new passphrase, mode 0600; a random one is made when absent.
    """
    layout = config.Layout(data, passphrase_file)
    present = system_passphrase(data, passphrase_file)
    coming = secret(new_passphrase_file, "") if new_passphrase_file else secrets.token_urlsafe(32).encode()
    passphrases.check(coming, present)
    if in_use(layout):
        raise LocalError(
            "app.in-use",
            f"The system of {layout.root} is running, and its processes hold the passphrase. Stop it first, then change "
            "the passphrase; nothing was changed.",
        )
    keyring = config.load(layout).keyring
    keep = passphrases.to_keyring(layout) if keyring else passphrases.to_file(layout)
    lock = asyncio.run(take_lock(layout))
    try:
        for _ in passphrases.change(layout, present, coming, keep):
            pass
    finally:
        os.close(lock)
    where = "the system's keyring" if keyring else str(layout.passphrase_file)
    if json:
        from meterseal.app.operator import as_json

        print(as_json({"changed": True, "kept_in": where}))
    else:
        print(f"The new passphrase is in {where}. Backups made before open with the one before.")
    return 0
