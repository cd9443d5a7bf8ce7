"""Signs checkpoints of the platform's ledger, and remembers the last one where the platform cannot take it back.

It sees no leaf and no reading. A checkpoint is signed only with a proof that its tree grew from the one before: so the
service never signs two histories, whatever the platform shows to whom. A platform that was brought back from a backup
has a shorter tree for a good reason: two officers then let it begin again (`ledger-reset`), and the next checkpoint
says so for ever.

The key is SM2, in vault *ca*, made when first asked for, and vouched for by the platform's certificate. A new version
signs what comes; what older ones signed stays as it is.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto import merkle
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from meterseal.security.book import Book
from meterseal.security.checkpoints import (
    NO_PREVIOUS,
    Checkpoint,
    LedgerKey,
    good,
    key_statement,
    read,
    signed,
    verified,
)
from meterseal.security.ledgerorders import LedgerHead, LedgerReset, SignCheckpoint
from meterseal.security.pki import Pki
from meterseal.security.vault import Vault

KEY = "LEDGER"
_DOCUMENT = "ledger"
_LIMIT = 10**7
_STORE = re.compile(r"[0-9a-z-]{1,40}")
_LONGEST = 200


class _Signed(Struct, frozen=True, kw_only=True):
    note: str = ""
    keys: tuple[LedgerKey, ...] = ()
    reset: bool = False


class Ledgering:
    """The checkpoints of one system."""

    def __init__(self, book: Book, vault: Vault, pki: Pki) -> None:
        self._book, self._vault, self._pki = book, vault, pki
        self._signed = book.read(_DOCUMENT, _Signed, _Signed())

    @property
    def head(self) -> LedgerHead:
        """The newest checkpoint, and who may have signed any."""
        known = self._signed
        return LedgerHead(note=known.note, keys=known.keys, root=self._pki.root, reset=known.reset)

    def sign(self, asked: SignCheckpoint, now: int) -> LedgerHead:
        """The next checkpoint.

        LocalError `security.request`; TrustError `ledger.note`, `ledger.signature` for a `newest` that is none,
        `security.ledger-shorter`, `security.ledger-changed`.
        """
        before = self._newest(asked)
        if (
            not 0 <= asked.size < merkle.LARGEST
            or not 0 <= asked.begins < merkle.LARGEST
            or len(asked.root) != len(NO_PREVIOUS)
            or _STORE.fullmatch(asked.store_id) is None
        ):
            raise LocalError("security.request", "A checkpoint has a store, a size and a root of 32 bytes.")
        reset = 0
        if before is not None:
            reset = before.number if self._signed.reset else 0
            if not reset:
                _check_growth(before, asked)
        at = max(now, before.at if before else 0)
        key = self._key(now, at)
        checkpoint = Checkpoint(
            store_id=asked.store_id,
            size=asked.size,
            root=asked.root,
            number=1 + (before.number if before else 0),
            at=at,
            previous=before.digest() if before else NO_PREVIOUS,
            begins=asked.begins,
            reset=reset,
        )
        self._vault.use(KEY, key.version)
        made = self._vault.signing(KEY, key.version).sign(checkpoint.text().encode())
        self._write(replace(self._signed, note=signed(checkpoint, key.point, made), reset=False))
        return self.head

    def reset(self, order: LedgerReset) -> int:
        """Let the next checkpoint begin again; the number of the last one. LocalError `security.request`."""
        if not 0 < len(order.reason) <= _LONGEST:
            raise LocalError("security.request", f"Give the reason in at most {_LONGEST} characters.")
        self._write(replace(self._signed, reset=True))
        return read(self._signed.note).number if self._signed.note else 0

    def _newest(self, asked: SignCheckpoint) -> Checkpoint | None:
        """The checkpoint before: ours, or a later one that we signed before we were put back to an older copy."""
        ours = read(self._signed.note) if self._signed.note else None
        if asked.newest and (not self._signed.reset or good(asked.newest, self._signed.keys)):
            theirs = verified(asked.newest, self._signed.keys)
            if ours is None or (theirs.number > ours.number and theirs.at >= ours.at):
                return theirs
        return ours

    def _key(self, now: int, at: int) -> LedgerKey:
        """The newest version of the key, vouched for; when it is new, as made at `at`, before which others signed."""
        if not any(facts.id == KEY for facts in self._vault.all_facts()):
            self._vault.add(KEY, 1, Sm2PrivateKey.generate(f"{KEY} version 1"), limit=_LIMIT)
        version = self._vault.newest(KEY)
        known = next((one for one in self._signed.keys if one.version == version), None)
        if known is not None:
            return known
        identity = self._pki.platform(now)
        point = self._vault.signing(KEY, version).public_point
        key = LedgerKey(
            version=version,
            point=point,
            at=at,
            chain=identity.chain,
            signature=self._pki.sign(identity, key_statement(version, point, at)),
        )
        self._write(replace(self._signed, keys=(*self._signed.keys, key)))
        return key

    def _write(self, said: _Signed) -> None:
        with self._book.transaction() as connection:
            self._book.write(connection, _DOCUMENT, said)
        self._signed = said


def new_key(vault: Vault) -> int:
    """A new version of the ledger's key, which signs from now on; the ones before retire. Its number."""
    before = [facts for facts in vault.all_facts() if facts.id == KEY]
    version = 1 + max((facts.version for facts in before), default=0)
    vault.add(KEY, version, Sm2PrivateKey.generate(f"{KEY} version {version}"), limit=_LIMIT)
    for facts in before:
        if facts.state == "active":
            vault.set_state(KEY, facts.version, "withdrawn")
    return version


def _check_growth(before: Checkpoint, asked: SignCheckpoint) -> None:
    if (asked.store_id, asked.begins) != (before.store_id, before.begins) or asked.size < before.size:
        raise TrustError(
            "security.ledger-shorter",
            f"The ledger of {before.store_id} had {before.size} leaves at checkpoint {before.number}, and "
            f"{asked.store_id} is said to have {asked.size}: its end was cut off, or an older copy was put back. Find out "
            "which; after a restore two officers order ledger-reset.",
        )
    if not merkle.consistent(before.size, before.root, asked.size, asked.root, asked.proof):
        raise TrustError(
            "security.ledger-changed",
            f"The tree of {asked.size} leaves does not begin with the {before.size} of checkpoint {before.number}: what "
            "was accepted before was changed. Nothing was signed; run: meterseal ledger verify",
        )
