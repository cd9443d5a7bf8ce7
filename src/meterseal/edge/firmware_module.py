"""Station edge, inside the module: what new firmware must show before the controller may run it (ADR 0030).

It stores no image (the controller does, `firmware`) and gives no order; it remembers one manifest at a time.

Security argument. An image runs only after three things that no one party has: a manifest that the security service
signed when two officers had released it (suite 1: SM2 under the root that was written once; suite 2, which has no
certificates: the order alone), the blocks themselves, hashed here and equal to the manifest's root, and the guarded order
that names this very manifest by its digest, authorised under K_cmnd for this module and made by two officers. Versions
only rise: what counts as installed is what the platform has seen running. A manifest ends, and so does the certificate of
the key that signed it, by the later of the meter's clock and the module's bound of time; so nobody can hold an old release
back and play it later. A trial ends well only when the platform answers, in the same session, a report that the new image
had this module seal. Each step is one write; what a cut leaves is the step before or the step after.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct, msgpack
from msgspec.structs import replace

from meterseal.crypto import sm2
from meterseal.crypto.symmetric import equal, sm3
from meterseal.edge.apdu import Command, Sw
from meterseal.edge.chip import FirmwareFacts
from meterseal.edge.chipmemory import Memory, pack
from meterseal.edge.refusal import need, timed
from meterseal.errors import TrustError
from meterseal.link import firmware
from meterseal.link.firmware import MOST_BLOCKS, SIZE, Manifest, Reason
from meterseal.link.identities import check_platform_chain
from meterseal.wire.frame import Frame

PAGE = "firmware"
_REPORTS = 16
BEGIN, MORE, END = range(3)


class _Kept(Struct, frozen=True, array_like=True):
    """The installed version and its manifest's digest; the manifest that is being received, whether its image was found
    whole, the manifest that an order names; the manifest on trial.
    """

    version: int = 1
    running: bytes = bytes(firmware.DIGEST)
    staged: bytes = b""
    checked: bool = False
    ordered: bytes = b""
    trial: bytes = b""


Pages = dict[str, bytes | None]


class FirmwareModule:
    """Offers and sightings as OPEN finds them; FIRMWARE CHECK, SWITCH, FALL BACK and STATE."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        page = memory.read_page(PAGE)
        self._kept = _Kept() if page is None else msgpack.decode(page, type=_Kept)
        self._leaves: list[bytes] = []
        self._sizes: list[int] = []
        self._reports: deque[tuple[bytes, int]] = deque(maxlen=_REPORTS)

    # --- what came down -----------------------------------------------------------------------------------

    def reported(self, session_id: bytes, counter: int, content: bytes) -> None:
        """A report was sealed; one of the image on trial may be answered by a sighting until the power goes."""
        if self._kept.trial and firmware.read_report(content).running == sm3(self._kept.trial):
            self._reports.append((session_id, counter))

    def heard(self, session_id: bytes, content: bytes, now: int) -> tuple[Reason, _Kept]:
        """What a word about firmware makes of what is kept; the caller writes it with the counter and calls `adopt`."""
        if content[0] == firmware.OFFER:
            return self._offered(firmware.read_offer(content), now)
        if content[0] == firmware.SEEN and self._kept.trial:
            running, counter = firmware.read_seen(content)
            digest = sm3(self._kept.trial)
            if equal(running, digest) and (session_id, counter) in self._reports:
                version = firmware.read_manifest(self._kept.trial).version
                return Reason.NONE, _Kept(version=version, running=digest)
        return Reason.NONE, self._kept

    def ordered(self, frame: Frame) -> _Kept:
        """What an authorised frame makes of what is kept: an order to switch is remembered."""
        digest = firmware.switch_of(frame)
        return self._kept if digest is None else replace(self._kept, ordered=digest)

    def pages(self, kept: _Kept) -> Pages:
        """What is to be written for it."""
        return {} if kept == self._kept else {PAGE: pack(kept)}

    def adopt(self, kept: _Kept) -> None:
        """It is written."""
        self._kept = kept

    def _offered(self, signed: firmware.Signed, now: int) -> tuple[Reason, _Kept]:
        kept = self._kept
        if kept.trial:
            return Reason.BUSY, kept
        manifest = firmware.read_manifest(signed.manifest)
        reason = self._signed(signed, now) or self._timely(manifest, now)
        if reason or signed.manifest == kept.staged:
            return reason, kept
        return Reason.NONE, replace(kept, staged=signed.manifest, checked=False, ordered=b"")

    def _signed(self, signed: firmware.Signed, now: int) -> Reason:
        """Under suite 2 there is nothing to check a signature with: the order that names the manifest is its proof."""
        state = self._memory.state
        if state.suite != 1:
            return Reason.NONE
        try:
            leaf = check_platform_chain(
                signed.chain,
                root=self._memory.trust.root,
                project_id=state.project_id,
                bound=max(now, state.time_bound),
            )
        except TrustError:
            return Reason.SIGNATURE
        good = sm2.verify(leaf.point, firmware.LABEL + signed.manifest, signed.signature)
        return Reason.NONE if good else Reason.SIGNATURE

    def _timely(self, manifest: Manifest, now: int) -> Reason:
        state, installed = self._memory.state, self._kept.version
        if manifest.project_id != state.project_id:
            return Reason.PROJECT
        if manifest.version <= installed:
            return Reason.VERSION
        if manifest.lowest > installed:
            return Reason.LOWEST
        if manifest.until <= max(now, state.time_bound):
            return Reason.LATE
        return Reason.NONE

    # --- what the controller asks -------------------------------------------------------------------------

    def check(self, command: Command) -> bytes:
        """The image, block by block; at its end the verdict, which is written."""
        need(bool(self._kept.staged), Sw.CONDITIONS)
        need(command.p1 in (BEGIN, MORE, END), Sw.WRONG_PLACE)
        if command.p1 == BEGIN:
            self._leaves, self._sizes = [], []
        elif command.p1 == MORE:
            need(0 < len(command.content) <= SIZE and len(self._leaves) < MOST_BLOCKS, Sw.WRONG_LENGTH)
            self._leaves.append(firmware.leaf_of(command.content))
            self._sizes.append(len(command.content))
        else:
            leaves, self._leaves = self._leaves, []
            manifest = firmware.read_manifest(self._kept.staged)
            right = bool(leaves) and set(self._sizes[:-1]) <= {SIZE} and sum(self._sizes) == manifest.size
            need(right and equal(firmware.root_of(leaves), manifest.root), Sw.SECURITY)
            self._write(replace(self._kept, checked=True))
        return b""

    def switch(self, command: Command) -> bytes:
        """May the image run on trial? Only what is whole, ordered, newer and in time."""
        now, _ = timed(command.content)
        kept = self._kept
        need(bool(kept.staged) and kept.checked, Sw.CONDITIONS)
        need(equal(kept.ordered, sm3(kept.staged)), Sw.SECURITY)
        need(not self._timely(firmware.read_manifest(kept.staged), now), Sw.SECURITY)
        self._reports.clear()
        self._write(_Kept(version=kept.version, running=kept.running, trial=kept.staged))
        return b""

    def fall_back(self, command: Command) -> bytes:
        """The trial is over and the image before runs again."""
        need(bool(self._kept.trial), Sw.CONDITIONS)
        self._write(_Kept(version=self._kept.version, running=self._kept.running))
        return b""

    def state(self, command: Command) -> bytes:
        """What the module holds for installed, received and on trial."""
        kept = self._kept
        return pack(
            FirmwareFacts(
                version=kept.version,
                running=kept.running,
                staged=sm3(kept.staged) if kept.staged else b"",
                checked=kept.checked,
                trial=sm3(kept.trial) if kept.trial else b"",
            )
        )

    def _write(self, kept: _Kept) -> None:
        self._memory.write_page(PAGE, pack(kept))
        self._kept = kept
