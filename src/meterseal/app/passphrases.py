"""Changes the passphrase of a system that is down: both vaults, the TLS passwords, the offline root, and where it lies.

It makes no key anew: whoever copied the files together with the passphrase has what was in them.

Everything is first made to open with either passphrase, each thing by a write of its own. Then one write decides: the
passphrase on file (or in the keyring). Whatever opens next with that one closes itself to the other. So a stop between
any two writes leaves a system that starts with the passphrase that is on file, and no copy made after it opens with
the other one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from meterseal.app.config import Layout, replace_file, unusable
from meterseal.errors import LocalError
from meterseal.mesh.authority import TlsDirectory
from meterseal.security import offline
from meterseal.security.pki import OFFLINE
from meterseal.security.service import CA, KEYS
from meterseal.security.vault import Vault

SHORTEST = 12
_VAULTS = ((KEYS, "keys"), (CA, "ca"))


def check(coming: bytes, present: bytes) -> None:
    """LocalError `app.weak-passphrase`, `app.same-passphrase`."""
    if len(coming) < SHORTEST or coming != coming.strip():
        raise LocalError(
            "app.weak-passphrase",
            f"The new passphrase has fewer than {SHORTEST} bytes, or begins or ends with a space. Use another one; "
            "nothing was changed.",
        )
    if coming == present:
        raise LocalError("app.same-passphrase", "The new passphrase is the present one; nothing was changed.")


def change(layout: Layout, present: bytes, coming: bytes, keep: Callable[[bytes], None]) -> Iterator[str]:
    """Each step makes one write and then yields its name; the caller holds the lock of the directory.

    `keep` puts the new passphrase where the system takes it from. TrustError `security.passphrase`, `mesh.passphrase`;
    LocalError `security.other-store` for vaults of a token, whose PIN is changed at the token.
    """
    for file, name in _VAULTS:
        vault = Vault.open(layout.keys / file, name, present)
        try:
            vault.begin_move(vault.prepare_move(coming))
        finally:
            vault.close()
        yield f"vault {name}"
    TlsDirectory(layout.tls).begin_change(present, coming)
    yield "tls"
    offline.begin_change(layout.keys / OFFLINE, present, coming)
    yield "offline root"
    keep(coming)
    yield "passphrase"
    for file, name in _VAULTS:
        Vault.open(layout.keys / file, name, coming).close()
        yield f"vault {name} closed to the old one"
    TlsDirectory(layout.tls).open(coming)
    yield "tls closed to the old one"
    offline.settle(layout.keys / OFFLINE, coming)
    yield "offline root closed to the old one"


def to_file(layout: Layout) -> Callable[[bytes], None]:
    """Keeps a passphrase in the system's passphrase file; durable before anything is closed to the old one."""

    def keep(passphrase: bytes) -> None:
        replace_file(layout.passphrase_file, passphrase + b"\n")
        try:
            folder = os.open(layout.passphrase_file.absolute().parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise unusable(layout.passphrase_file, error) from None

    return keep


def to_keyring(layout: Layout) -> Callable[[bytes], None]:
    """Keeps a passphrase in the system's keyring."""

    def keep(passphrase: bytes) -> None:
        import keyring
        from keyring.errors import KeyringError

        try:
            keyring.set_password("meterseal", str(layout.root), passphrase.decode())
        except KeyringError as error:
            raise LocalError(
                "app.keyring",
                f"The system's keyring cannot be used ({type(error).__name__}). Unlock it in this session and try again; "
                "the old passphrase stays.",
            ) from None

    return keep


def settle(layout: Layout, passphrase: bytes) -> None:
    """At a start: let the offline root follow the passphrase on file; vaults and TLS do so when they are opened."""
    offline.settle(layout.keys / OFFLINE, passphrase)
