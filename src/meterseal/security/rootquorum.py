"""The quorum of the root: which generation is in force, who holds its shares, and how the next one takes its place.

It admits nobody: `desks.root` says what officers ordered; `quorum` computes shares, `offline` seals the file.

Security argument: the book (sealed, counted) names the generation in force with the digest of its file and a
check of each share, so an older file, a file of the lab default or a foreign one is refused before it is
opened, and a wrong share is named before it is combined. The file's key needs a half that vault *ca* keeps
under the number of the generation and destroys with it. A new quorum counts when every holder has shown, by a
signed digest of their share, that they can open it; until then the one before opens the root. One book
transaction decides; what follows from it (file, vault) is made good by `settle`, also after a crash. The share
of somebody who is no officer any more is dead, and nobody leaves when too few would stay.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct, structs

from meterseal.crypto import sm2
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.security import offline, pki, quorum
from meterseal.security import rootorders as r
from meterseal.security.book import Book
from meterseal.security.officers import Officers
from meterseal.security.vault import Vault

HALF = "ROOT-SEAL"
"""The vault's half of the file's key, in vault *ca*; its version is the generation of the quorum."""
_DOCUMENT = "root-quorum"


class _Holder(Struct, frozen=True, array_like=True):
    officer: str
    check: bytes


class _Quorum(Struct, frozen=True, kw_only=True):
    generation: int
    quorum_id: bytes
    threshold: int
    holders: tuple[_Holder, ...]
    digest: bytes


class _Coming(Struct, frozen=True, kw_only=True):
    quorum: _Quorum
    shares: tuple[r.SealedShare, ...]
    kept: tuple[str, ...] = ()


class _Document(Struct, frozen=True, kw_only=True):
    standing: _Quorum | None = None
    coming: _Coming | None = None


class RootQuorum:
    """The quorum of one system, or the lab default while there is none."""

    def __init__(self, book: Book, keys: Vault, authorities: Vault, officers: Officers) -> None:
        self._book, self._keys, self._authorities, self._officers = book, keys, authorities, officers
        self._folder: Path = book.store.path.parent / pki.OFFLINE
        self._known = book.read(_DOCUMENT, _Document, _Document())
        self.settle()

    @property
    def threshold(self) -> int:
        """How many people open the root: 1 under the lab default."""
        return self._known.standing.threshold if self._known.standing else 1

    def facts(self) -> r.QuorumFacts:
        """Who opens the root."""
        standing, coming = self._known.standing, self._known.coming
        waiting = tuple(
            one.officer for one in coming.quorum.holders if one.officer not in coming.kept
        ) if coming else ()  # fmt: skip
        here = offline.digest(self._folder)
        if standing is None:
            return r.QuorumFacts(threshold=1, people=(), present=here != b"", waiting=waiting)
        people = tuple(one.officer for one in standing.holders)
        return r.QuorumFacts(
            threshold=standing.threshold,
            people=people,
            present=equal(here, standing.digest),
            generation=standing.generation,
            left=tuple(sorted(set(people) - set(self._officers.present("ca")))),
            waiting=waiting,
        )

    def coming(self) -> r.ComingQuorum:
        """The quorum that is being set up; LocalError `security.quorum` when there is none."""
        coming = self._coming()
        return r.ComingQuorum(
            quorum_id=coming.quorum.quorum_id,
            threshold=coming.quorum.threshold,
            shares=coming.shares,
            kept=coming.kept,
        )

    # --- opening

    def check_share(self, officer: str, share: bytes) -> None:
        """TrustError `security.share`, naming the officer, unless this is their share of the quorum in force."""
        standing = self._in_force()
        held = next((one for one in standing.holders if one.officer == officer), None)
        if held is None:
            raise TrustError("security.share", f"{officer} holds no share of this root; nothing was opened.")
        if not equal(held.check, quorum.check_of(share)):
            raise TrustError(
                "security.share",
                f"What {officer} handed in is not their share of the quorum in force: it was altered, is somebody "
                "else's, or of an older quorum. Nothing was opened.",
            )

    def open(self, shares: Mapping[str, bytes]) -> offline.OpenRoot:
        """The root under checked shares, of officers of today; TrustError `security.quorum` for too few,
        `security.root-file` for another file than the one in force.
        """
        standing = self._in_force()
        alive = {who: share for who, share in shares.items() if who in self._officers.present("ca")}
        for who, share in alive.items():
            self.check_share(who, share)
        if not alive:
            raise TrustError(
                "security.quorum", f"{standing.threshold} people open this root; nobody is here."
            )
        self.check_file()
        half = self._authorities.symmetric(HALF, standing.generation)
        return offline.unseal(self._folder, offline.quorum_key(quorum.combine([*alive.values()]), half))

    def open_single(self, passphrase: bytes) -> offline.OpenRoot:
        """The root under the lab default; TrustError `security.quorum` once there is a quorum."""
        standing = self._known.standing
        if standing is not None:
            raise TrustError(
                "security.quorum",
                f"{standing.threshold} of {len(standing.holders)} people open this root, no passphrase does.",
            )
        return offline.from_vault(offline.open_single(self._folder, passphrase), self._keys)

    def check_file(self) -> None:
        """That the file in force is here: LocalError `security.offline`, TrustError `security.root-file`."""
        found, standing = offline.digest(self._folder), self._known.standing
        if not found:
            raise LocalError(
                "security.offline", f"The offline root is not in {self._folder}; bring it back for this act."
            )
        if standing is not None and not equal(found, standing.digest):
            raise TrustError(
                "security.root-file",
                f"{self._folder / offline.FILE} is not the file of quorum {standing.generation}, which is in force: an "
                "older one was put back, or it was changed. Bring the newest; nothing was opened.",
            )

    # --- a new quorum

    def check_people(self, threshold: int, people: Iterable[str]) -> None:
        """LocalError `security.quorum`, `security.officer` unless these can be a quorum."""
        wanted = tuple(people)
        if not quorum.fits(threshold, len(wanted)):
            raise LocalError(
                "security.quorum",
                f"A quorum is m of n people with 2 <= m <= n <= {quorum.MOST}; nothing was changed.",
            )
        if len(set(wanted)) != len(wanted) or not set(wanted) <= set(self._officers.present("ca")):
            raise LocalError(
                "security.officer",
                "The shares of a quorum go to different officers of this system with the role ca; nothing was changed.",
            )

    def deal(self, root: offline.OpenRoot, threshold: int, people: tuple[str, ...]) -> r.ComingQuorum:
        """A coming quorum: a new secret, new shares, the root sealed anew beside the file in force. It replaces one
        that was not confirmed.
        """
        self.check_people(threshold, people)
        points = self._officers.present("ca")
        secret = os.urandom(quorum.SECRET)
        shares = quorum.split(secret, threshold, len(people))
        versions = [facts.version for facts in self._authorities.all_facts() if facts.id == HALF]
        generation = max(versions, default=0) + 1
        half = SymmetricKey.generate(f"{HALF} version {generation}")
        quorum_id, key = quorum.id_of(shares[0]), offline.quorum_key(secret, half)
        self._authorities.add(HALF, generation, half)
        offline.replace(
            self._folder, offline.seal(self._folder, root, key, generation, quorum_id), offline.DEALT
        )
        made = _Quorum(
            generation=generation,
            quorum_id=quorum_id,
            threshold=threshold,
            holders=tuple(
                _Holder(who, quorum.check_of(share)) for who, share in zip(people, shares, strict=True)
            ),
            digest=offline.digest(self._folder, offline.DEALT),
        )
        sealed = tuple(
            r.SealedShare(officer=who, sealed=sm2.encrypt(points[who], share))
            for who, share in zip(people, shares, strict=True)
        )
        self._write(structs.replace(self._known, coming=_Coming(quorum=made, shares=sealed)), ())
        self.settle()
        return self.coming()

    def keep(self, officer: str, kept: r.ShareKept, spent: tuple[bytes, int]) -> bool:
        """A holder of the coming quorum can open their share; whether it is in force now. `spent` is the request's id
        and end. TrustError `security.share`; LocalError `security.quorum`, `security.offline`.
        """
        coming = self._coming()
        held = next((one for one in coming.quorum.holders if one.officer == officer), None)
        if (
            held is None
            or not equal(coming.quorum.quorum_id, kept.quorum_id)
            or not equal(held.check, kept.check)
        ):
            raise TrustError(
                "security.share",
                f"This is not the share that {officer} was given in the coming quorum; nothing was changed.",
            )
        gone = {one.officer for one in coming.quorum.holders} - set(self._officers.present("ca"))
        if gone:
            raise LocalError(
                "security.quorum",
                f"{', '.join(sorted(gone))} left meanwhile, so this quorum cannot begin; order a new one.",
            )
        shown = structs.replace(coming, kept=tuple(sorted({*coming.kept, officer})))
        if len(shown.kept) < len(coming.quorum.holders):
            self._write(structs.replace(self._known, coming=shown), spent)
            return False
        if not equal(offline.digest(self._folder, offline.DEALT), coming.quorum.digest):
            raise LocalError(
                "security.offline",
                f"{offline.DEALT} of the coming quorum is not in {self._folder}; bring the directory back, or order a new "
                "quorum.",
            )
        self._write(_Document(standing=coming.quorum), spent)  # from here on the new quorum is in force
        self.settle()
        return True

    def check_leaving(self, officers: Iterable[str]) -> None:
        """LocalError `security.quorum` when fewer holders than the quorum needs would stay officers."""
        standing, gone = self._known.standing, set(officers)
        if standing is None or not gone & {one.officer for one in standing.holders}:
            return
        left = {one.officer for one in standing.holders} & set(self._officers.present("ca")) - gone
        if len(left) < standing.threshold:
            raise LocalError(
                "security.quorum",
                f"{standing.threshold} people open the root and only {len(left)} holders would stay; renew the quorum "
                "first. Nothing was changed.",
            )

    # --- what follows from the book

    def settle(self) -> None:
        """Make file and vaults follow the book; harmless to repeat, and done at every start."""
        standing, coming = self._known.standing, self._known.coming
        if standing is not None:
            here = offline.digest(self._folder)
            beside = offline.digest(self._folder, offline.DEALT)
            if not equal(here, standing.digest) and equal(beside, standing.digest):
                offline.put_in_force(self._folder, offline.DEALT)
                here = standing.digest
            if not equal(here, standing.digest):
                return  # carried away, or not the right one: nothing is ended before it is back
            offline.destroy_top(self._keys)
        held = {one.generation for one in (standing, coming.quorum if coming else None) if one is not None}
        for facts in self._authorities.all_facts():
            if facts.id == HALF and facts.version not in held and facts.state != "destroyed":
                self._authorities.set_state(HALF, facts.version, "destroyed")
        dealt = offline.digest(self._folder, offline.DEALT)
        if dealt and not (coming and equal(dealt, coming.quorum.digest)):
            with contextlib.suppress(OSError):  # it opens nothing any more
                (self._folder / offline.DEALT).unlink()

    def _write(self, document: _Document, spent: tuple[bytes, int] | tuple[()]) -> None:
        with self._book.transaction() as connection:
            self._book.write(connection, _DOCUMENT, document)
            if spent:
                self._book.spend(connection, *spent)
        self._known = document

    def _in_force(self) -> _Quorum:
        if self._known.standing is None:
            raise TrustError("security.quorum", "This root has no quorum; its passphrase opens it.")
        return self._known.standing

    def _coming(self) -> _Coming:
        if self._known.coming is None:
            raise LocalError("security.quorum", "No new quorum is under way; two officers order one.")
        return self._known.coming
