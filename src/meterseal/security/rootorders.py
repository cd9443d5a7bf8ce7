"""What is asked about the root: its quorum, its opening, and what two people do with it open. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.messages import Secret
from meterseal.security.orders import Request


class CeremonyPoint(Struct, frozen=True):
    """The SM2 point that shares are sealed to in one ceremony; its key is in memory and works once."""

    point: bytes


class QuorumBegin(Secret, frozen=True, kw_only=True):
    """Share the root among these officers, any `threshold` of whom open it; `passphrase` is today's."""

    threshold: int
    officers: tuple[str, ...]
    passphrase: bytes


class QuorumFacts(Struct, frozen=True, kw_only=True):
    """Who opens the root: `threshold` of `people` (officer ids), or, with no people, whoever has the passphrase."""

    threshold: int
    people: tuple[str, ...]
    present: bool

    @property
    def sentence(self) -> str:
        """For a person."""
        away = "" if self.present else " The offline directory is not here now."
        if self.people:
            return f"{self.threshold} of {len(self.people)} people open the root.{away}"
        return f"One person with the passphrase opens the root: the lab default, set a quorum.{away}"


class SealedShare(Struct, frozen=True, kw_only=True):
    """A share that only its officer's key opens (C1 ‖ C3 ‖ C2)."""

    officer: str
    sealed: bytes


class QuorumShares(Struct, frozen=True, kw_only=True):
    """The shares of a new quorum, and where its people seal them to when they confirm."""

    shares: tuple[SealedShare, ...]
    point: bytes


class Shares(Struct, frozen=True, kw_only=True):
    """Shares, each sealed by its holder to the point of the ceremony."""

    sealed: tuple[bytes, ...]


class OpenRoot(Secret, frozen=True, kw_only=True):
    """Open the root for the next act: with a quorum's shares, or with the passphrase under the lab default."""

    shares: tuple[bytes, ...] = ()
    passphrase: bytes = b""


class RotateAuthority(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `ca-rotate`: a new version of the CA `authority` (platform, device)."""

    authority: str


class CloseAuthority(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `ca-close`: revoke one version of a CA; `cut_off` although modules stand on it."""

    authority: str
    version: int
    cut_off: bool = False
