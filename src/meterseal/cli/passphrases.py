"""Passphrases that commands need: from a file that only its owner reads, or typed.

It keeps none and prints none; where the system's own lies is `app.config`'s.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from meterseal.app import config
from meterseal.errors import LocalError


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
            "use.passphrase",
            "Nobody can type a passphrase here; name its file, by the option that ends in -file (see --help).",
        )
    return getpass.getpass(prompt).encode()


def system_passphrase(data: Path, passphrase_file: Path | None) -> bytes:
    """The passphrase of the vaults, from where the system keeps it."""
    layout = config.Layout(data, passphrase_file)
    return config.take_passphrase(layout, create=False, keyring=config.load(layout).keyring)
