"""New versions of the service's keys, under load: which kinds there are, and how many items still stand on an old one.

It signs and opens nothing; the parts that use a key take its newest version by themselves.

Rotation has the three steps of Tink: a new version is added and used for everything new, what stands on the
old one moves by and by and is counted, and only what nothing stands on any more is withdrawn, by two people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.security import datakeys, hierarchy
from meterseal.security import keyorders as k
from meterseal.security.audit import Audit
from meterseal.security.book import Book
from meterseal.security.keylife import KeyLife
from meterseal.security.ledgering import new_key as new_ledger_key
from meterseal.security.pki import Pki
from meterseal.security.registry import Registry
from meterseal.security.vault import GCM_LIMIT, STATES, UNBOUNDED, State, Vault

DIAK, SESSIONS, DATA, AUDIT, ACTS, PLATFORM, LEDGER, KEK = (
    "diak",
    "session-wraps",
    "data-keys",
    "audit",
    "acts",
    "platform",
    "ledger",
    "vault-kek",
)
KINDS = (DIAK, SESSIONS, DATA, AUDIT, ACTS, PLATFORM, LEDGER, KEK)
_KEY = {DIAK: "DIAK", SESSIONS: "WRAP-SESSION", DATA: "WRAP-DATA", AUDIT: "AUDIT", ACTS: "ACTS"}
_LIMIT = {SESSIONS: GCM_LIMIT, DATA: GCM_LIMIT, DIAK: hierarchy.DIAK_LIMIT}
_IMPORTED = frozenset({"DIAK", "WRAP-DATA", "WRAP-SESSION"})
_TRANSPORT = "TRANSPORT"
_MOST_DIAKS = 4
"""Versions of DIAK that modules may stand on at once; a fifth waits until the oldest is empty."""
_MOST_REWRAPS = 1000


class Rotation:
    """Rotates the keys of one service."""

    def __init__(
        self,
        keys: Vault,
        authorities: Vault,
        registry: Registry,
        audit: Audit,
        book: Book,
        pki: Pki,
        keylife: KeyLife,
    ) -> None:
        self._keys, self._authorities, self._registry = keys, authorities, registry
        self._audit, self._book, self._pki, self._keylife = audit, book, pki, keylife
        self._reported: dict[str, dict[int, int]] = {}
        self._reported_at: int | None = None
        self._floors: dict[str, int] = {SESSIONS: 0, DATA: 0}
        self._changing_door = asyncio.Lock()

    async def rotate(self, request: k.Rotate, now: int) -> k.Rotated:
        """A new version of one kind.

        LocalError `security.kind`, `security.still-moving`; TrustError `security.passphrase` when the present
        passphrase is not the one in use.
        """
        steps: dict[str, Callable[[], int]] = {
            DIAK: self._diak,
            SESSIONS: lambda: self._fresh(SESSIONS),
            DATA: lambda: self._fresh(DATA),
            AUDIT: lambda: self._fresh(AUDIT),
            ACTS: self._acts,
            PLATFORM: lambda: self._pki.renew_platform(now).version,
            LEDGER: lambda: new_ledger_key(self._authorities),
        }
        if request.kind == KEK:
            await self._change_door(request.present, request.coming)
            return k.Rotated(kind=KEK, version=0)
        step = steps.get(request.kind)
        if step is None:
            raise LocalError(
                "security.kind", f"{request.kind[:40]} does not rotate here; there are {', '.join(KINDS)}."
            )
        return k.Rotated(kind=request.kind, version=step())

    def _diak(self) -> int:
        standing = {module.key_version for module in self._registry.modules()}
        if len(standing | {self._keys.newest("DIAK")}) >= _MOST_DIAKS:
            raise LocalError(
                "security.still-moving",
                f"Modules stand on {len(standing)} versions of DIAK already; let them move to the newest first.",
            )
        return hierarchy.renew_diak(self._keys)

    def _fresh(self, kind: str) -> int:
        key_id = _KEY[kind]
        before = [facts for facts in self._keys.all_facts() if facts.id == key_id]
        version = 1 + max(facts.version for facts in before)
        key = SymmetricKey.generate(f"{key_id} version {version}")
        self._keys.add(key_id, version, key, limit=_LIMIT.get(kind, UNBOUNDED))
        self._retire_older(key_id, version)
        return version

    def _acts(self) -> int:
        version = self._fresh(ACTS)
        self._book.reseal()
        return version

    def _retire_older(self, key_id: str, version: int) -> None:
        for facts in self._keys.all_facts():
            if facts.id == key_id and facts.version < version and facts.state == "active":
                self._keys.set_state(key_id, facts.version, "retiring")

    async def _change_door(self, present: bytes, coming: bytes) -> None:
        """Both vaults get a new key-encryption key; at every moment one of the two passphrases opens both."""
        async with self._changing_door:
            vaults = (self._keys, self._authorities)
            for vault in vaults:  # a disk that was full kept an earlier move from its end
                vault.finish_move()
            fits = [await vault.fits(present) for vault in vaults]
            if not all(fits):
                raise TrustError(
                    "security.passphrase",
                    "The present passphrase is not the one in use; nothing was changed.",
                )
            made = [await asyncio.to_thread(vault.prepare_move, coming) for vault in vaults]
            try:
                for vault, door in zip(vaults, made, strict=True):
                    vault.begin_move(door)
            except BaseException:
                for vault in vaults:
                    vault.cancel_move()
                raise
            for vault in vaults:
                vault.finish_move()

    def moving(self) -> k.MovingReply:
        """What still stands on an old version."""
        modules = tuple(self._registry.modules())
        newest = self._keys.newest("DIAK")
        certified = [module for module in modules if module.suite == 1]
        authority = self._pki.version("device")
        acts = self._keys.newest("ACTS")
        documents = self._book.versions()
        items = [
            k.Moving(
                kind=DIAK,
                newest=newest,
                old=sum(module.key_version < newest for module in modules),
                total=len(modules),
            ),
            k.Moving(
                kind="device-certificates",
                newest=authority,
                old=sum(module.authority < authority for module in certified),
                total=len(certified),
            ),
            k.Moving(kind=ACTS, newest=acts, old=sum(v < acts for v in documents), total=len(documents)),
            k.Moving(
                kind=KEK,
                newest=0,
                old=self._keys.moving + self._authorities.moving,
                total=len(self._keys.all_facts()) + len(self._authorities.all_facts()),
            ),
        ]
        for kind in (SESSIONS, DATA):
            counts = self._reported.get(kind, {})
            top = self._keys.newest(_KEY[kind])
            items.append(
                k.Moving(
                    kind=kind,
                    newest=top,
                    old=sum(count for version, count in counts.items() if version < top),
                    total=sum(counts.values()),
                    reported_at=self._reported_at,
                    complete=self._floors[kind] >= top,
                )
            )
        return k.MovingReply(items=tuple(items))

    def report(self, report: k.WrapReport, now: int) -> None:
        """Take down what the platform counted; LocalError `security.kind` for other kinds."""
        counted: dict[str, dict[int, int]] = {SESSIONS: {}, DATA: {}}
        for one in report.counts:
            if one.kind not in counted or one.count < 0:
                raise LocalError("security.kind", f"Counted are {SESSIONS} and {DATA}, from 0 up.")
            counted[one.kind][one.version] = counted[one.kind].get(one.version, 0) + one.count
        for kind, version in ((SESSIONS, report.sessions_from), (DATA, report.data_keys_from)):
            if version > self._keys.newest(_KEY[kind]):
                raise LocalError("security.kind", f"There is no version {version} of {_KEY[kind]} in use.")
        self._floors = {SESSIONS: report.sessions_from, DATA: report.data_keys_from}
        self._reported, self._reported_at = counted, now

    def rewrap(self, request: k.Rewrap) -> k.Rewrapped:
        """Wrapped keys under the newest wrapping keys; nothing of them is shown.

        LocalError `security.kind`, `security.request`; TrustError `security.wrapped` for one that does not open.
        """
        if len(request.items) > _MOST_REWRAPS:
            raise LocalError("security.request", f"At most {_MOST_REWRAPS} keys are rewrapped at once.")
        return k.Rewrapped(wrapped=tuple(self._rewrapped(item) for item in request.items))

    def _rewrapped(self, item: k.Wrapped) -> bytes:
        if item.kind not in (SESSIONS, DATA):
            raise LocalError("security.kind", f"Rewrapped are {SESSIONS} and {DATA}.")
        if datakeys.version_of(item.wrapped) == self._keys.newest(_KEY[item.kind]):
            return item.wrapped
        if item.kind == DATA:
            return datakeys.rewrap_data_key(self._keys, item.purpose, item.name, item.wrapped)
        try:
            session_id, device_id = bytes.fromhex(item.name), bytes.fromhex(item.purpose)
        except ValueError:
            raise LocalError(
                "security.request", "A session's wrap is named by session id and device id in hex."
            ) from None
        packed = datakeys.unwrap_session(self._keys, session_id, device_id, item.wrapped)
        return datakeys.wrap_session(self._keys, session_id, device_id, packed)

    def transport(self) -> k.TransportPoint:
        """The key that envelopes to this service are for; made when first asked for."""
        if not any(facts.id == _TRANSPORT for facts in self._keys.all_facts()):
            self._keys.add(_TRANSPORT, 1, Sm2PrivateKey.generate(f"{_TRANSPORT} version 1"))
        version = self._keys.newest(_TRANSPORT)
        return k.TransportPoint(self._keys.signing(_TRANSPORT, version).public_point, version)

    def take_in(self, request: k.ImportKey) -> int:
        """Store an imported key as the next version, `new`, and return that version.

        LocalError `security.kind`; TrustError `crypto.ciphertext`, `security.check-value`.
        """
        if request.key_id not in _IMPORTED:
            raise LocalError(
                "security.kind", f"Imported are {', '.join(sorted(_IMPORTED))}; {request.key_id[:40]} is not."
            )
        self.transport()
        version = 1 + max(f.version for f in self._keys.all_facts() if f.id == request.key_id)
        if version > hierarchy.MOST_VERSIONS:
            raise LocalError("security.version", "255 versions are used; set up a new project.")
        opened = self._keys.signing(_TRANSPORT).decrypt(request.envelope)
        self._keys.use(_TRANSPORT)
        if len(opened) != 16:
            raise TrustError(
                "crypto.ciphertext", "The envelope does not hold an SM4 key; nothing was imported."
            )
        key = SymmetricKey.from_bytes(opened, f"{request.key_id} version {version}")
        if not equal(key.check_value(), request.check_value):
            raise TrustError(
                "security.check-value", "The key in the envelope is not the one named by the check value."
            )
        known = [f for f in self._keys.all_facts() if f.id == request.key_id and f.state != "destroyed"]
        for facts in known:
            if facts.check_value == key.check_value() and facts.state in ("active", "retiring", "new"):
                same = self._keys.peek(request.key_id, facts.version)
                if equal(expose(same), opened):
                    raise LocalError(
                        "security.key-exists", f"This key is here already, as version {facts.version}."
                    )
        kind = next(kind for kind, key_id in _KEY.items() if key_id == request.key_id)
        self._keys.add(request.key_id, version, key, state="new", limit=_LIMIT.get(kind, UNBOUNDED))
        return version

    def set_state(self, change: k.KeyStateChange) -> None:
        """Move one version of a key on.

        LocalError `security.kind`, `security.key-state` for a step back or a jump, `security.still-used`
        while something stands on it (unless `despite`), `security.last-key` for the only one in use.
        """
        if change.key_id not in _KEY.values() or change.state not in STATES:
            raise LocalError(
                "security.kind",
                f"Two people move {', '.join(_KEY.values())} to {', '.join(STATES[1:])}; nothing was changed.",
            )
        state: State = STATES[STATES.index(change.state)]
        facts = self._keys.facts(change.key_id, change.version)
        if STATES.index(state) != [*STATES].index(facts.state) + 1 and not (  # type: ignore[arg-type]  # both are words of STATES
            facts.state in ("new", "active") and state == "withdrawn"
        ):
            raise LocalError(
                "security.key-state",
                f"{change.key_id} version {change.version} is {facts.state} and does not become {state}; a key is "
                "withdrawn before it is destroyed.",
            )
        if state == "active":
            self._keys.set_state(change.key_id, change.version, state)
            self._retire_older(change.key_id, self._keys.newest(change.key_id))
            return
        if facts.state in ("active", "retiring") and state != "destroyed":
            self._check_replaceable(change, state)
        self._keys.set_state(change.key_id, change.version, state)

    def _check_replaceable(self, change: k.KeyStateChange, state: State) -> None:
        others = [
            facts
            for facts in self._keys.all_facts()
            if facts.id == change.key_id and facts.state == "active" and facts.version > change.version
        ]
        if not others:
            raise LocalError(
                "security.last-key",
                f"{change.key_id} version {change.version} is the newest in use; rotate it first.",
            )
        standing = self._standing(change.key_id, change.version)
        if state == "withdrawn" and standing != 0 and not change.despite:
            what = "an unknown number of items" if standing is None else f"{standing} items"
            raise LocalError(
                "security.still-used",
                f"{what} still stand on {change.key_id} version {change.version}; let them move first, or say that it "
                "shall end despite that.",
            )

    def _standing(self, key_id: str, version: int) -> int | None:
        """How many items need this version; None when nobody has counted, or not since it stopped being used."""
        if key_id == "DIAK":
            return sum(module.key_version == version for module in self._registry.modules())
        if key_id == "ACTS":
            return self._book.versions().count(version)
        if key_id == "AUDIT":
            return self._audit.written_under(version)
        kind = SESSIONS if key_id == "WRAP-SESSION" else DATA
        if version >= self._floors[kind]:  # an answer of ours may still be on its way into the store
            return None
        return self._reported[kind].get(version, 0)
