"""What is asked about the root: acts that need it open, shares handed in for one of them, a new quorum. No behaviour.

An act of the root is ordered by two officers and then waits, as an `Opening`, until enough holders have signed
and handed in their shares for this very order.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.crypto.symmetric import sm3
from meterseal.security.messages import Secret
from meterseal.security.orders import Request


class RotateAuthority(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `ca-rotate`: a new version of the CA `authority` (platform, device)."""

    authority: str


class CloseAuthority(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `ca-close`: revoke one version of a CA; `cut_off` although modules stand on it."""

    authority: str
    version: int
    cut_off: bool = False


class NewQuorum(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `root-quorum`: share the root anew among these officers, any `threshold` of whom open it."""

    threshold: int
    officers: tuple[str, ...]


class ShareIn(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `root-share`: the signer's share for one opening and for the act that it names, sealed to its point."""

    opening: bytes
    act: bytes
    sealed: bytes


class ShareKept(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `root-kept`: the signer can open their share of the coming quorum; `check` is `quorum.check_of` it."""

    quorum_id: bytes
    check: bytes


class OpenByPassphrase(Secret, frozen=True, kw_only=True):
    """Carry the waiting act out under the lab default."""

    passphrase: bytes


class Opening(Struct, frozen=True, kw_only=True):
    """An act of the root that waits for shares until then (Unix ms): what officers signed, the SM2 point that shares
    are sealed to for it alone, how many are needed (1: the passphrase), and who handed in.
    """

    opening: bytes
    purpose: str
    request: bytes
    point: bytes
    until: int
    threshold: int
    handed_in: tuple[str, ...]


class SealedShare(Struct, frozen=True, kw_only=True):
    """A share that only its officer's key opens (C1 ‖ C3 ‖ C2)."""

    officer: str
    sealed: bytes


class ComingQuorum(Struct, frozen=True, kw_only=True):
    """A quorum that counts once every holder has shown that they can open their share."""

    quorum_id: bytes
    threshold: int
    shares: tuple[SealedShare, ...]
    kept: tuple[str, ...]


class QuorumFacts(Struct, frozen=True, kw_only=True):
    """Who opens the root: `threshold` of `people` (officer ids), or, with no people, whoever has the passphrase.

    `generation` rises with every new quorum (0: none yet); `present`: the file in force lies in the directory;
    `left`: holders who are no officers any more; `waiting`: who has yet to show a share of the coming quorum.
    """

    threshold: int
    people: tuple[str, ...]
    present: bool
    generation: int = 0
    left: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For a person."""
        said = "One person with the passphrase opens the root: the lab default, set a quorum."
        if self.people:
            said = f"{self.threshold} of {len(self.people)} people open the root."
        if self.left:
            said += f" The shares of {', '.join(self.left)}, who left, are dead: renew the quorum."
        if self.waiting:
            said += f" A new quorum waits for {', '.join(self.waiting)}."
        return (
            said if self.present else f"{said} The offline directory is not here now, or not as it was left."
        )


def act_digest(purpose: str, request: bytes) -> bytes:
    """What a share is handed in for: SM3 of a purpose and the exact request that officers signed (32 bytes)."""
    return sm3(b"ms1 root act\x00", purpose.encode(), b"\x00", request)
