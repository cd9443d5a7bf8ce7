"""The SM2 certificates of LINK section 1: an offline root, a platform CA and a device CA, and what they
issue.

It decides nobody's enrolment; it issues for those whom `personalise` has enrolled, and says whether a chain
holds.

The root signs both CAs and one revocation list when a system is set up; then its key is sealed into the
`offline` directory and never opened again by a running service, so the directory can be carried away. The
CAs and the platform's own key lie in vault *ca*. A platform certificate lives 30 days at most and is
renewed, with a new key, before ten remain: its short life is how a withdrawn platform comes to be refused
by meters (LINK section 1). Device certificates outlive the meters they are for.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from meterseal.crypto import certificates
from meterseal.crypto.certificates import Certificate
from meterseal.crypto.names import PLATFORM_LIFETIME, Purpose, uri
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError, MetersealError, TrustError
from meterseal.security.passphrase import fresh_stretching, key_encryption_key
from meterseal.security.registry import Registry
from meterseal.security.vault import Vault

HOUR = 3_600_000
DAY = 24 * HOUR
ROOT_LIFE = 30 * 365 * DAY
CA_LIFE = 25 * 365 * DAY
DEVICE_LIFE = 20 * 365 * DAY
LIST_LIFE = 30 * DAY
RENEW_BEFORE = 10 * DAY
BACKDATED = HOUR
"""How far validity begins before now, for clocks that differ a little."""

PLATFORM_KEY = "PLATFORM"
_CA_KEY: dict[Purpose, str] = {"platform": "PLATFORM-CA", "device": "DEVICE-CA"}
_CA_LIMIT = 10**7
_PLATFORM_LIMIT = 10**8

_REMEMBERED = 4096

OFFLINE = "offline"


def establish(
    directory: Path, vault: Vault, registry: Registry, passphrase: bytes, project_id: bytes, now: int
) -> None:
    """First start: root, both CAs, the root's revocation list and the first platform certificate."""
    root_key = Sm2PrivateKey.generate("the root key")
    since = now - BACKDATED
    root = certificates.issue_root(root_key, name="meterseal root", since=since, until=since + ROOT_LIFE)
    settings = {"root": root}
    for purpose, key_id in _CA_KEY.items():
        key = Sm2PrivateKey.generate(key_id)
        vault.add(key_id, 1, key, limit=_CA_LIMIT)
        settings[f"{purpose}-ca"] = certificates.issue_ca(
            root,
            root_key,
            point=key.public_point,
            name=f"meterseal {purpose} CA",
            purpose=purpose,
            since=since,
            until=since + CA_LIFE,
        )
    # The root's key will not be there to renew this list, so it lasts as long as the CAs.
    settings["root-list"] = certificates.issue_crl(
        root, root_key, revoked=(), number=1, since=since, until=since + CA_LIFE
    )
    with registry.store.transaction() as connection:
        for name, der in settings.items():
            registry.put_setting(connection, name, der)
    _seal_offline(directory / OFFLINE, root_key, root, passphrase)
    Pki(vault, registry, project_id).renew_platform(now)


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


class Identity(msgspec.Struct, frozen=True):
    """The platform's certificate in force: chain (leaf, CA), its key's version in vault *ca*, and when it
    ends.
    """

    chain: tuple[bytes, bytes]
    version: int
    since: int
    until: int


class Pki:
    """The CAs of a running service."""

    def __init__(self, vault: Vault, registry: Registry, project_id: bytes) -> None:
        self._vault = vault
        self._registry = registry
        self._project_id = project_id
        self.root = registry.setting("root")
        self._root_list = registry.setting("root-list")
        self._authority: dict[Purpose, bytes] = {
            purpose: registry.setting(f"{purpose}-ca") for purpose in _CA_KEY
        }
        self._lists: dict[Purpose, tuple[bytes, int]] = {}
        self._numbers: dict[Purpose, int] = {}
        self._identity: Identity | None = None
        self._proven: dict[tuple[bytes, ...], Certificate] = {}

    def platform(self, now: int) -> Identity:
        """The platform's certificate, renewed when fewer than ten days remain.

        TrustError `security.platform-ended` when there is none that is valid and none can be made; a
        failure of the disk while the certificate still holds waits for the next call.
        """
        if self._identity is None:
            self._identity = self._stored()
        identity = self._identity
        if identity is None or identity.until - now < RENEW_BEFORE or now < identity.since:
            try:
                identity = self.renew_platform(now)
            except MetersealError:
                if identity is None or not identity.since <= now <= identity.until:
                    raise
        return identity

    def renew_platform(self, now: int) -> Identity:
        """A new platform key and certificate; the version before is retired."""
        authority = certificates.parse(self._authority["platform"])
        since = now - BACKDATED
        until = min(since + PLATFORM_LIFETIME, authority.until - 999)
        if until <= now or since < authority.since - DAY:
            raise TrustError(
                "security.platform-ended",
                "The platform certificate has ended and its CA is not valid at this time, so no meter is "
                "answered; set "
                "the clock right, or bring the offline root and issue a new platform CA.",
            )
        version = self._last_version() + 1
        key = Sm2PrivateKey.generate(PLATFORM_KEY)
        leaf = self._issue(
            "platform",
            key.public_point,
            f"platform {version}",
            [uri("project", self._project_id)],
            since,
            until,
        )
        self._vault.add(PLATFORM_KEY, version, key, limit=_PLATFORM_LIMIT)
        identity = Identity((leaf, self._authority["platform"]), version, since, until)
        with self._registry.store.transaction() as connection:
            self._registry.record(connection, [("platform", certificates.parse(leaf).serial, leaf, now)])
            self._registry.put_setting(connection, "platform", msgspec.msgpack.encode(identity))
        if self._identity is not None:
            self._vault.set_state(PLATFORM_KEY, self._identity.version, "withdrawn")
        self._identity = identity
        return identity

    def sign(self, identity: Identity, message: bytes) -> bytes:
        """The platform's signature over a message of the link, counted."""
        self._vault.use(PLATFORM_KEY, identity.version)
        return self._vault.signing(PLATFORM_KEY, identity.version).sign(message)

    def issue_device(self, device_id: bytes, module_id: bytes, point: bytes, now: int) -> bytes:
        """A device certificate (DER), counted; recorded by the caller together with the enrolment."""
        since = now - BACKDATED
        until = min(since + DEVICE_LIFE, certificates.parse(self._authority["device"]).until - 999)
        names = [uri("device", device_id), uri("module", module_id)]
        return self._issue("device", point, f"module {module_id.hex()}", names, since, until)

    def device_chain(self, leaf: bytes) -> tuple[bytes, bytes]:
        """Leaf and device CA."""
        return leaf, self._authority["device"]

    def check_device(self, chain: list[bytes], device_id: bytes, module_id: bytes, now: int) -> Certificate:
        """The leaf of a device chain that holds now and names these ids; TrustError `crypto.*` or
        `link.identity`.

        The path is proven by OpenSSL once per chain and revocation list; validity is looked at every time.
        """
        place = (*chain, self._list("device", now))
        leaf = self._proven.get(place)
        if leaf is None:
            leaf = certificates.verify_chain(
                chain, root=self.root, purpose="device", at=now, crls=(self._root_list, place[-1])
            )
            if len(self._proven) >= _REMEMBERED:
                self._proven.clear()
            self._proven[place] = leaf
        authority = certificates.parse(chain[1])
        if not (leaf.since <= now <= leaf.until and authority.since <= now <= authority.until):
            raise TrustError(
                "crypto.ended", "The device's certificate is not valid at this time; it is refused."
            )
        if (leaf.identity("device"), leaf.identity("module")) != (device_id, module_id):
            raise TrustError(
                "link.identity", "The certificate names another device or module than the HELLO did."
            )
        return leaf

    def lists(self, now: int) -> list[bytes]:
        """Revocation lists (DER) of root, platform CA and device CA, in force now."""
        return [self._root_list, self._list("platform", now), self._list("device", now)]

    def revoked(self, purpose: Purpose) -> None:
        """Forget the list in memory, so that the next one names what was just revoked."""
        self._lists.pop(purpose, None)

    def chain(self, purpose: Purpose) -> bytes:
        """The certificate (DER) of a CA."""
        return self._authority[purpose]

    def _list(self, purpose: Purpose, now: int) -> bytes:
        kept = self._lists.get(purpose)
        if kept is not None and 0 <= now - kept[1] < LIST_LIFE // 2:
            return kept[0]
        number = max(now, self._numbers.get(purpose, 0) + 1)  # rises, across restarts too
        made = certificates.issue_crl(
            self._authority[purpose],
            self._vault.signing(_CA_KEY[purpose]),
            revoked=self._registry.revoked(purpose),
            number=number,
            since=now - BACKDATED,
            until=now + LIST_LIFE,
        )
        self._vault.use(_CA_KEY[purpose])
        self._lists[purpose], self._numbers[purpose] = (made, now), number
        return made

    def _issue(
        self, purpose: Purpose, point: bytes, name: str, uris: list[str], since: int, until: int
    ) -> bytes:
        key = self._vault.signing(_CA_KEY[purpose])
        self._vault.use(_CA_KEY[purpose])
        return certificates.issue_leaf(
            self._authority[purpose],
            key,
            point=point,
            name=name,
            purpose=purpose,
            uris=uris,
            since=since,
            until=until,
        )

    def _stored(self) -> Identity | None:
        identity = msgspec.msgpack.decode(self._registry.setting("platform"), type=Identity)
        try:
            self._vault.signing(PLATFORM_KEY, identity.version)
        except TrustError:
            return None
        return identity

    def _last_version(self) -> int:
        return max(
            (facts.version for facts in self._vault.all_facts() if facts.id == PLATFORM_KEY), default=0
        )
