"""What needs the root's key: the first start, new versions of a CA, closing an old one; and the key's offline form.

It keeps no key open: who calls opened the root (by passphrase at the first start, by quorum later) and lets it go.

The root signs both CAs and one revocation list when a system is set up; then its key is sealed into the
`offline` directory and never opened again by a running service, so the directory can be carried away. When
it is brought back, by people, it signs a further version of a CA or a root list that names a closed one. The
old version of a CA stays good for verifying until it is closed, and that is refused while modules in service
still stand on it, unless the caller says that they are to be cut off.

One transaction of the registry decides each act; what follows from it in the vault is made good by `settle`, at
every start and before the next act, so an act that was cut off is either not done or done.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from meterseal.crypto import certificates
from meterseal.crypto.names import Purpose
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security.issuer import (
    BACKDATED,
    CA_KEY,
    CLOSED,
    DAY,
    HOUR,
    Ending,
    Identity,
    Pki,
    closed_bytes,
    setting_of,
)
from meterseal.security.passphrase import fresh_stretching, key_encryption_key
from meterseal.security.registry import Registry
from meterseal.security.vault import STATES, State, Vault

__all__ = [
    "CA_LIFE",
    "DAY",
    "HOUR",
    "OFFLINE",
    "ROOT_LIFE",
    "Ending",
    "Identity",
    "Pki",
    "check_closing",
    "close",
    "establish",
    "rotate",
    "settle",
]

ROOT_LIFE = 30 * 365 * DAY
CA_LIFE = 25 * 365 * DAY
_CA_LIMIT = 10**7

OFFLINE = "offline"


def establish(
    directory: Path, vault: Vault, registry: Registry, passphrase: bytes, project_id: bytes, now: int
) -> None:
    """First start: root, both CAs, the root's revocation list and the first platform certificate."""
    root_key = Sm2PrivateKey.generate("the root key")
    since = now - BACKDATED
    root = certificates.issue_root(root_key, name="meterseal root", since=since, until=since + ROOT_LIFE)
    settings = {"root": root}
    for purpose in CA_KEY:
        settings[setting_of(purpose, 1)] = _new_authority(vault, purpose, 1, root, root_key, now)
    # The root's key will not be there to renew this list, so it lasts as long as the CAs.
    settings["root-list"] = _root_list(root, root_key, {}, 1, now)
    with registry.store.transaction() as connection:
        for name, der in settings.items():
            registry.put_setting(connection, name, der)
    _seal_offline(directory / OFFLINE, root_key, root, passphrase)
    Pki(vault, registry, project_id).renew_platform(now)


def rotate(
    pki: Pki, vault: Vault, registry: Registry, purpose: Purpose, root_key: Sm2PrivateKey, now: int
) -> int:
    """A new version of a CA, signed by the opened root; it issues from now on. Returns the version.

    A new platform CA issues the platform's next certificate at once. TrustError `security.root-key` for
    another key than the root's.
    """
    _check_root(pki, root_key)
    # A version whose key was stored and whose certificate was not (a crash between the two) is skipped.
    version = max(facts.version for facts in vault.all_facts() if facts.id == CA_KEY[purpose]) + 1
    made = _new_authority(vault, purpose, version, pki.root, root_key, now)
    listed = _root_list(pki.root, root_key, pki.closed, certificates.list_number(pki.root_list) + 1, now)
    with registry.store.transaction() as connection:
        registry.put_setting(connection, setting_of(purpose, version), made)
        registry.put_setting(connection, "root-list", listed)
    pki.reload()
    settle(pki, vault)
    if purpose == "platform":
        pki.renew_platform(now)
    return version


def close(
    pki: Pki,
    vault: Vault,
    registry: Registry,
    purpose: Purpose,
    version: int,
    root_key: Sm2PrivateKey,
    now: int,
    *,
    cut_off: bool = False,
) -> None:
    """Revoke an old version of a CA by a new list of the opened root, and end its key.

    TrustError `security.root-key`, and the errors of `check_closing`.
    """
    _check_root(pki, root_key)
    check_closing(pki, registry, purpose, version, cut_off=cut_off)
    closed = {**pki.closed, certificates.parse(pki.authorities(purpose)[version]).serial: now}
    number = certificates.list_number(pki.root_list) + 1
    listed = _root_list(pki.root, root_key, closed, number, now)
    with registry.store.transaction() as connection:
        registry.put_setting(connection, CLOSED, closed_bytes(closed))
        registry.put_setting(connection, "root-list", listed)
    pki.reload()
    settle(pki, vault)


def check_closing(pki: Pki, registry: Registry, purpose: Purpose, version: int, *, cut_off: bool) -> None:
    """LocalError `security.authority` for the version that issues now or one that is not open,
    `security.authority-used` while modules in service stand on it, unless `cut_off`.
    """
    known = pki.authorities(purpose)
    if version not in known or version == pki.version(purpose):
        raise LocalError(
            "security.authority",
            f"Version {version} of the {purpose} CA is not open, or is the one that issues now; nothing was changed.",
        )
    left = registry.standing_on(version) if purpose == "device" else 0
    if left and not cut_off:
        raise LocalError(
            "security.authority-used",
            f"{left} modules in service still stand on version {version} of the device CA; renew their certificates "
            "first. Nothing was changed.",
        )


def settle(pki: Pki, vault: Vault) -> None:
    """Let the keys of the CAs and of the platform follow what the registry says of their certificates; harmless to
    repeat. A closed version is withdrawn, an older one retiring.

    A key without a certificate stays as it is: it signs nothing, and the registry may be the older file.
    """
    for purpose, key_id in CA_KEY.items():
        known, open_now = pki.versions(purpose), pki.authorities(purpose)
        for version in known:
            wanted: State = "withdrawn"
            if version in open_now:
                wanted = "active" if version == pki.version(purpose) else "retiring"
            found = vault.facts(key_id, version).state
            if STATES.index(wanted) > [*STATES].index(found):  # type: ignore[arg-type]  # both are words of STATES
                vault.set_state(key_id, version, wanted)
    pki.end_older_platform_keys()


def _check_root(pki: Pki, root_key: Sm2PrivateKey) -> None:
    if not equal(certificates.parse(pki.root).point, root_key.public_point):
        raise TrustError(
            "security.root-key", "The opened key is not that of this system's root; nothing was changed."
        )


def _new_authority(
    vault: Vault, purpose: Purpose, version: int, root: bytes, root_key: Sm2PrivateKey, now: int
) -> bytes:
    key = Sm2PrivateKey.generate(CA_KEY[purpose])
    vault.add(CA_KEY[purpose], version, key, limit=_CA_LIMIT)
    since = now - BACKDATED
    return certificates.issue_ca(
        root,
        root_key,
        point=key.public_point,
        name=f"meterseal {purpose} CA" if version == 1 else f"meterseal {purpose} CA {version}",
        purpose=purpose,
        since=since,
        until=min(since + CA_LIFE, certificates.parse(root).until - 999),
    )


def _root_list(root: bytes, root_key: Sm2PrivateKey, closed: dict[int, int], number: int, now: int) -> bytes:
    since = now - BACKDATED
    until = min(since + CA_LIFE, certificates.parse(root).until - 999)
    return certificates.issue_crl(
        root, root_key, revoked=tuple(closed.items()), number=number, since=since, until=until
    )


def _seal_offline(directory: Path, key: Sm2PrivateKey, root: bytes, passphrase: bytes) -> None:
    stretching = fresh_stretching()
    kek = key_encryption_key(passphrase, "offline root", stretching)
    sealed = msgspec.msgpack.encode((stretching, kek.gcm_seal(key.to_pkcs8(), b"offline root\x00" + root)))
    try:
        directory.mkdir(mode=0o700)
        for name, content in (("root.key", sealed), ("root.der", root)):
            descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            try:
                os.write(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise EngineError(
            "security.disk", f"Cannot write {directory}: {error.strerror}. Free space there and start again."
        ) from None
