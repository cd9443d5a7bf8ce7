"""The SM2 certificates of LINK section 1: an offline root, platform CAs and device CAs, and what they issue.

It decides nobody's enrolment; it issues for those whom `personalise` has enrolled, and says whether a chain
holds. What an opened root does is in `pki`.

The CAs and the platform's own key lie in vault *ca*. A platform certificate lives 30 days at most and is
renewed, with a new key, before ten remain: its short life is how a withdrawn platform comes to be refused
by meters (LINK section 1). Device certificates outlive the meters they are for, or are renewed over the link.

A CA may have several versions: the newest issues, the older ones keep their revocation lists until nothing
stands under them. A revocation counts here from the moment it is stored; the lists in `lists` name it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from meterseal.crypto import certificates
from meterseal.crypto.names import PLATFORM_LIFETIME, Purpose, uri
from meterseal.crypto.proven import Leaf
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.security.chains import DeviceChains
from meterseal.security.registry import Issued, Module, Registry
from meterseal.security.vault import Vault

HOUR = 3_600_000
DAY = 24 * HOUR
DEVICE_LIFE = 20 * 365 * DAY
LIST_LIFE = 30 * DAY
RENEW_BEFORE = 10 * DAY
BACKDATED = HOUR
"""How far validity begins before now, for clocks that differ a little."""
SETTLING = 1000
"""Milliseconds for which many revocations may share one list, where the registry's own memory is asked too."""

PLATFORM_KEY = "PLATFORM"
CA_KEY: dict[Purpose, str] = {"platform": "PLATFORM-CA", "device": "DEVICE-CA"}
CLOSED = "closed-authorities"
_PLATFORM_LIMIT = 10**8


def setting_of(purpose: Purpose, version: int) -> str:
    """Where the registry keeps the certificate of one version of a CA."""
    return f"{purpose}-ca" if version == 1 else f"{purpose}-ca/{version}"


def closed_bytes(closed: dict[int, int]) -> bytes:
    """Serial and time of each closed CA, as the registry keeps them."""
    return msgspec.msgpack.encode({f"{serial:x}": at for serial, at in closed.items()})


def _closed(raw: bytes) -> dict[int, int]:
    return {int(serial, 16): at for serial, at in msgspec.msgpack.decode(raw, type=dict[str, int]).items()}


class Identity(msgspec.Struct, frozen=True):
    """The platform's certificate in force: chain (leaf, CA), its key's version in vault *ca*, and when it
    ends.
    """

    chain: tuple[bytes, bytes]
    version: int
    since: int
    until: int


class Ending(NamedTuple):
    """A certificate or list of the system itself, and when it ends (Unix ms). `serial` is 0 for a list."""

    kind: str
    name: str
    serial: int
    until: int


class Pki:
    """The CAs of a running service."""

    def __init__(self, vault: Vault, registry: Registry, project_id: bytes) -> None:
        self._vault = vault
        self._registry = registry
        self._project_id = project_id
        self.root = registry.setting("root")
        self._lists: dict[tuple[Purpose, int], tuple[bytes, int]] = {}
        self._numbers: dict[tuple[Purpose, int], int] = {}
        self._stale: set[tuple[Purpose, int]] = set()
        self._identity: Identity | None = None
        self._chains = DeviceChains()
        self.reload()

    def reload(self) -> None:
        """Read CAs, their closing and the root's list again, after an opened root changed them."""
        self.root_list = self._registry.setting("root-list")
        self._authority: dict[Purpose, dict[int, bytes]] = {
            purpose: {
                int(name.partition("/")[2] or 1): der
                for name, der in self._registry.settings(f"{purpose}-ca").items()
            }
            for purpose in CA_KEY
        }
        closed = self._registry.settings(CLOSED).get(CLOSED)
        self.closed = _closed(closed) if closed else {}
        self._by_key = {
            certificates.parse(der).key_id: der
            for versions in self._authority.values()
            for der in versions.values()
        }
        self._chains.forget()

    # --- the platform's own certificate

    def platform(self, now: int) -> Identity:
        """The platform's certificate, renewed when fewer than ten days remain, it was revoked, or its CA has a newer
        version.

        TrustError `security.platform-ended` when there is none that is valid and none can be made; a
        failure of the disk while the certificate still holds waits for the next call.
        """
        if self._identity is None:
            self._identity = self._stored()
        identity = self._identity
        good = identity is not None and not self._is_revoked(identity)
        newest = identity is not None and identity.chain[1] == self.chain("platform")
        if (
            identity is not None
            and good
            and newest
            and identity.since <= now <= identity.until - RENEW_BEFORE
        ):
            return identity
        try:
            return self.renew_platform(now)
        except MetersealError:
            if identity is None or not good or not identity.since <= now <= identity.until:
                raise
        return identity

    def renew_platform(self, now: int) -> Identity:
        """A new platform key and certificate; the version before is retired."""
        authority = certificates.parse(self.chain("platform"))
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
        identity = Identity((leaf, self.chain("platform")), version, since, until)
        with self._registry.store.transaction() as connection:
            self._registry.record(connection, [Issued("platform", self.version("platform"), leaf, now)])
            self._registry.put_setting(connection, "platform", msgspec.msgpack.encode(identity))
        self._identity = identity
        self.end_older_platform_keys()
        return identity

    def end_older_platform_keys(self) -> None:
        """Withdraw every key of the platform that is older than its certificate's, also after a cut-off renewal."""
        identity = self._identity or self._stored()
        newest = identity.version if identity is not None else 0
        for facts in self._vault.all_facts():
            if facts.id == PLATFORM_KEY and facts.state == "active" and facts.version < newest:
                self._vault.set_state(PLATFORM_KEY, facts.version, "withdrawn")

    def revoke_platform(self, now: int) -> Identity:
        """Revoke the platform's certificate and put a new one, with a new key, in its place.

        The lists name the old one at once; a module, which reads no list, refuses it once its bound of time
        has passed the old one's end (LINK section 1).
        """
        old = self._identity or self._stored()
        if old is not None:
            self._registry.revoke("platform", certificates.parse(old.chain[0]).serial, now)
            self.revoked("platform")
        return self.renew_platform(now)

    def sign(self, identity: Identity, message: bytes) -> bytes:
        """The platform's signature over a message of the link, counted."""
        self._vault.use(PLATFORM_KEY, identity.version)
        return self._vault.signing(PLATFORM_KEY, identity.version).sign(message)

    # --- certificates of devices

    def issue_device(
        self, device_id: bytes, module_id: bytes, point: bytes, now: int, *, after: int = 0
    ) -> bytes:
        """A device certificate (DER) of the newest CA, counted; recorded by the caller with the enrolment.

        With `after` it ends later than that (Unix ms); LocalError `security.no-later` when the CA ends before.
        """
        since = now - BACKDATED
        latest = certificates.parse(self.chain("device")).until - 999
        until = min(max(since + DEVICE_LIFE, after + 1000), latest)
        if until <= after:
            raise LocalError(
                "security.no-later",
                "The device CA ends before a renewed certificate could be worth more than the present one; issue a new "
                "device CA from the offline root first.",
            )
        names = [uri("device", device_id), uri("module", module_id)]
        return self._issue("device", point, f"module {module_id.hex()}", names, since, until)

    def renew_device(self, module: Module, now: int) -> Module:
        """A newer certificate for the same key, waiting until the module shows it; asked again, the same one.

        LocalError `security.no-chain` for a module without certificates, `security.no-later`.
        """
        if not module.leaf:
            raise LocalError(
                "security.no-chain",
                f"Module {module.module_id.hex()} has no certificate (suite 2), so there is nothing to renew.",
            )
        if module.renewed and self._is_newest(module.renewed, now):
            return module
        leaf = self.issue_device(
            module.device_id, module.module_id, module.point, now, after=certificates.parse(module.leaf).until
        )
        return self._registry.renew(module, Issued("device", self.version("device"), leaf, now))

    def device_chain(self, leaf: bytes) -> tuple[bytes, bytes]:
        """Leaf and the device CA that signed it."""
        return leaf, self._by_key[certificates.parse(leaf).issuer_key_id]

    def check_device(self, chain: list[bytes], device_id: bytes, module_id: bytes, now: int) -> Leaf:
        """The leaf of a device chain that holds now and names these ids; TrustError `crypto.*` or
        `link.identity`.

        What stays proven from one call to the next is said in `chains`; what the registry knows of revocations is
        looked at every time.
        """
        version = self._version_of("device", chain[1]) if len(chain) == 2 else 0
        if version and certificates.parse(chain[1]).serial in self.closed:
            raise TrustError("crypto.revoked", "The CA of this certificate was closed; it is refused.")
        listed = self._list("device", version or self.version("device"), now, SETTLING)
        lists = (self.root_list, listed)
        leaf = self._chains.leaf(chain, root=self.root, lists=lists, now=now, ours=version > 0)
        if self._registry.is_revoked("device", leaf.serial):
            raise TrustError("crypto.revoked", "A certificate of the chain is revoked; it is refused.")
        if (leaf.device_id, leaf.module_id) != (device_id, module_id):
            raise TrustError(
                "link.identity", "The certificate names another device or module than the HELLO did."
            )
        return leaf

    # --- revocation lists and CAs

    def lists(self, now: int) -> list[bytes]:
        """Revocation lists (DER) of the root and of every CA that is not closed, in force now; they name all
        that is revoked.
        """
        return [self.root_list, *(self._list(purpose, version, now) for purpose, version, _ in self._open())]

    def revoked(self, purpose: Purpose) -> None:
        """Say that something was revoked, so that the next list names it."""
        self._stale.update((purpose, version) for version in self._authority[purpose])

    def version(self, purpose: Purpose) -> int:
        """The version of the CA that issues now."""
        return max(self._authority[purpose])

    def chain(self, purpose: Purpose) -> bytes:
        """The certificate (DER) of the CA that issues now."""
        return self._authority[purpose][self.version(purpose)]

    def versions(self, purpose: Purpose) -> frozenset[int]:
        """Every version of a CA that has a certificate, closed ones too."""
        return frozenset(self._authority[purpose])

    def authorities(self, purpose: Purpose) -> dict[int, bytes]:
        """Every version of a CA that is not closed, oldest first."""
        return {version: der for kind, version, der in self._open() if kind == purpose}

    def endings(self, now: int) -> list[Ending]:
        """When the root, its list, the CAs and the platform's certificate end, soonest first."""
        root = certificates.parse(self.root)
        found = [
            Ending("root", root.subject, root.serial, root.until),
            Ending("root-list", "revocation list of the root", 0, certificates.list_until(self.root_list)),
        ]
        for purpose, version, der in self._open():
            read = certificates.parse(der)
            found.append(
                Ending(f"{purpose}-ca", f"{read.subject} version {version}", read.serial, read.until)
            )
        leaf = certificates.parse(self.platform(now).chain[0])
        found.append(Ending("platform", leaf.subject, leaf.serial, leaf.until))
        return sorted(found, key=lambda ending: ending.until)

    def _open(self) -> Iterator[tuple[Purpose, int, bytes]]:
        for purpose, versions in self._authority.items():
            for version in sorted(versions):
                if certificates.parse(versions[version]).serial not in self.closed:
                    yield purpose, version, versions[version]

    def _list(self, purpose: Purpose, version: int, now: int, settling: int = 0) -> bytes:
        place = (purpose, version)
        kept = self._lists.get(place)
        if kept is not None and 0 <= now - kept[1] < (settling if place in self._stale else LIST_LIFE // 2):
            return kept[0]
        number = max(now, self._numbers.get(place, 0) + 1)  # rises, across restarts too
        made = certificates.issue_crl(
            self._authority[purpose][version],
            self._vault.signing(CA_KEY[purpose], version),
            revoked=self._registry.revoked(purpose, version),
            number=number,
            since=now - BACKDATED,
            until=now + LIST_LIFE,
        )
        self._vault.use(CA_KEY[purpose], version)
        self._lists[place], self._numbers[place] = (made, now), number
        self._stale.discard(place)
        return made

    def _issue(
        self, purpose: Purpose, point: bytes, name: str, uris: list[str], since: int, until: int
    ) -> bytes:
        version = self.version(purpose)
        key = self._vault.signing(CA_KEY[purpose], version)
        self._vault.use(CA_KEY[purpose], version)
        return certificates.issue_leaf(
            self._authority[purpose][version],
            key,
            point=point,
            name=name,
            purpose=purpose,
            uris=uris,
            since=since,
            until=until,
        )

    def _is_newest(self, leaf: bytes, now: int) -> bool:
        """Whether a new certificate would not be worth a year more than this one."""
        read = certificates.parse(leaf)
        authority = certificates.parse(self.chain("device"))
        best = min(now - BACKDATED + DEVICE_LIFE, authority.until - 999)
        return read.issuer_key_id == authority.key_id and read.until > best - 365 * DAY

    def _version_of(self, purpose: Purpose, der: bytes) -> int:
        return next((version for version, known in self._authority[purpose].items() if known == der), 0)

    def _is_revoked(self, identity: Identity) -> bool:
        closed = certificates.parse(identity.chain[1]).serial in self.closed
        return closed or self._registry.is_revoked("platform", certificates.parse(identity.chain[0]).serial)

    def _stored(self) -> Identity | None:
        raw = self._registry.settings("platform").get("platform")
        if raw is None:
            return None
        identity = msgspec.msgpack.decode(raw, type=Identity)
        try:
            self._vault.signing(PLATFORM_KEY, identity.version)
        except TrustError:
            return None
        return identity

    def _last_version(self) -> int:
        return max(
            (facts.version for facts in self._vault.all_facts() if facts.id == PLATFORM_KEY), default=0
        )
