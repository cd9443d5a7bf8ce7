"""Station edge, the controller's firmware: two slots, an image that arrives in blocks, the switch, the trial, the way back.

It trusts no manifest by itself: the module judges each (`firmware_module`), and nothing runs that it did not let run. It
reads no clock and moves no bytes. A simulated image says how it behaves in its first bytes (`sample`): what stands behind
them is only there to be carried.

    idle --OFFER--> receiving --last block, module: whole--> ready --order, module: may--> trial --SEEN--> idle, newer
                        ^ any other block, or none: a count                                  |
                        |                                         not seen in time, or does not start: the slot before

Every step is one write of this memory or of the module's. Where a step is one of each, the module's comes first, and after
a cut this side is brought to what the module knows.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto.symmetric import equal, sm3
from meterseal.edge.chip import Chip
from meterseal.edge.delivery import Pages
from meterseal.errors import PeerError, TrustError
from meterseal.link import firmware
from meterseal.link.firmware import Manifest, Phase, Reason, Report

PAGE = "firmware"
MAGIC = b"MSFW"
DEAD, MUTE = 1, 2
"""Behaviour of a simulated image: it does not start; it starts and says nothing to the platform."""
FACTORY = 1
"""Version of the image that a meter is made with."""
NOTHING = bytes(firmware.DIGEST)
_HEAD = len(MAGIC) + 4 + 1
_TRIED = 8
"""Reports without an answer until the next session, while nothing is under way."""


class Pace(Struct, frozen=True, kw_only=True):
    """How long a new image has to be seen by the platform, how often it may be started meanwhile, and when a device says
    again what it lacks: after `repeat`, then doubling to `slowest`. Milliseconds.
    """

    trial: int = 30 * 60_000
    starts: int = 4
    repeat: int = 10_000
    slowest: int = 900_000


class _State(Struct, frozen=True, array_like=True):
    """`slot` runs, by the manifest `running` (empty: as made); `before` is that of the other slot while a trial lasts,
    until `trial_until` (0: no trial, 1: begins at the next look) and for `starts` power-ons. `staged` is being received
    into the other slot, `lacks` has a bit for each block that is not there. `reason` is why the last thing failed.
    """

    slot: int = 0
    running: bytes = b""
    before: bytes = b""
    trial_until: int = 0
    starts: int = 0
    staged: bytes = b""
    lacks: bytes = b""
    ready: bool = False
    reason: int = 0


class Firmware:
    """The firmware of one device; `store` keeps its slots, beside what else its controller keeps."""

    def __init__(
        self, chip: Chip, store: Pages, *, model: str, hardware: int = 1, pace: Pace | None = None
    ) -> None:
        self._chip, self._store = chip, store
        self._model, self._hardware = model, hardware
        self._pace = pace or Pace()
        page = store.read(PAGE)
        self._state = _State() if page is None else msgspec.msgpack.decode(page, type=_State)
        self.refused = 0
        self.restarts = False
        self._told = b""
        self._due = self._said = 0
        self._agree()
        if self._state.trial_until:
            self._start_again()
        self._boot()

    # --- what runs ----------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Of the image that runs."""
        return self._manifest(self._state.running).version if self._state.running else FACTORY

    @property
    def phase(self) -> Phase:
        """What is being done."""
        state = self._state
        if state.trial_until:
            return Phase.TRIAL
        if state.ready:
            return Phase.READY
        return Phase.RECEIVING if state.staged else Phase.IDLE

    @property
    def reason(self) -> Reason:
        """Why the last thing asked was not done."""
        return Reason(self._state.reason)

    @property
    def starts(self) -> bool:
        """Does the image that runs do anything? A meter whose image does not start is silent on its bus."""
        return not self._flags & DEAD

    @property
    def speaks(self) -> bool:
        """Does it speak to the platform?"""
        return not self._flags & (DEAD | MUTE)

    def _boot(self) -> None:
        """Begin to run what lies in the slot. An image of another version than its manifest's does not start."""
        self._flags = 0
        if self._state.running:
            head = self._store.read(_place(self._state.slot, 0)) or b""
            version = int.from_bytes(head[4:8], "big")
            fits = len(head) >= _HEAD and head.startswith(MAGIC) and version == self.version
            self._flags = head[8] if fits else DEAD
        self._told = b""

    def _start_again(self) -> None:
        """The power came back during a trial: an image gets so many starts."""
        if self._state.starts >= self._pace.starts:
            self._fall_back()
        else:
            self._keep(replace(self._state, starts=self._state.starts + 1))

    def tick(self, now: int) -> None:
        """Look whether a trial is over, or an image is whole and not checked yet."""
        state = self._state
        if state.trial_until:
            if (
                state.trial_until == 1 or state.trial_until - now > self._pace.trial
            ):  # begins, or a clock went back
                self._keep(replace(state, trial_until=now + self._pace.trial))
            elif now >= state.trial_until:
                self._fall_back()
        elif state.staged and not state.ready and not any(state.lacks):
            self._check()

    def _fall_back(self) -> None:
        self._agree()
        if not self._state.trial_until:
            return
        why = Reason.NO_REPORT if self._starts_at_all() else Reason.NO_START
        self._chip.fall_back()
        self._return(why)

    def _starts_at_all(self) -> bool:
        self._boot()
        return self.starts

    def _return(self, why: Reason) -> None:
        state = self._state
        self._keep(_State(slot=1 - state.slot, running=state.before, reason=why))
        self._boot()
        self.restarts = True

    def _agree(self) -> None:
        """Bring this side to what the module knows: after a cut between the two, and after a sighting."""
        state, facts = self._state, self._chip.firmware()
        if state.trial_until:
            running = sm3(state.running)
            if facts.running == running:
                self._keep(_State(slot=state.slot, running=state.running))
            elif facts.trial != running:
                self._return(Reason.NO_REPORT)
        elif state.staged and facts.trial == sm3(state.staged):
            self._turn()
        elif state.ready and not (facts.checked and facts.staged == sm3(state.staged)):
            self._keep(replace(state, ready=False))  # checked again at the next look, or offered anew

    # --- what comes down ----------------------------------------------------------------------------------

    def heard(self, content: bytes, reason: int, now: int) -> None:
        """Take a word about firmware; what does not hold changes nothing but a count, or the reason that is told."""
        self._said = 0
        try:
            if content[0] == firmware.OFFER:
                self._offered(firmware.read_offer(content).manifest, Reason(reason))
                self._due = now
            elif content[0] == firmware.BLOCK:
                self._block(firmware.read_block(content), now)
            elif content[0] == firmware.SEEN:
                on_trial = self.phase is Phase.TRIAL
                self._agree()
                self._quiet(now)
                if on_trial and self.phase is not Phase.TRIAL:
                    self._due = now  # the platform hears that it stays
        except PeerError:
            self.refused += 1

    def _offered(self, raw: bytes, reason: Reason) -> None:
        state = self._state
        manifest = firmware.read_manifest(raw)
        if not reason and manifest.model != self._model:
            reason = Reason.MODEL
        if not reason and manifest.hardware != self._hardware:
            reason = Reason.HARDWARE
        if reason:
            self._keep(replace(state, reason=reason))
            self._agree()  # the module may hold this manifest now, in place of the one whose image is here
        elif raw != state.staged:
            count = manifest.blocks
            lacks = bytearray(b"\xff" * ((count + 7) // 8))
            lacks[-1] = 0xFF << (8 * len(lacks) - count) & 0xFF
            older = self._manifest(state.staged).blocks if state.staged else 0
            gone: dict[str, bytes | None] = {_place(1 - state.slot, index): None for index in range(older)}
            self._keep(replace(state, staged=raw, lacks=bytes(lacks), ready=False, reason=0), gone)

    def _block(self, block: firmware.Block, now: int) -> None:
        state = self._state
        named = bool(state.staged) and equal(sm3(state.staged)[: firmware.NAMED], block.named)
        if not named or state.ready or not firmware.belongs(self._manifest(state.staged), block):
            self.refused += 1
            return
        if block.flags & firmware.REPORT_NOW:
            self._due = now
        at, bit = block.index // 8, 0x80 >> block.index % 8
        if not state.lacks[at] & bit:
            return
        lacks = state.lacks[:at] + bytes((state.lacks[at] & ~bit,)) + state.lacks[at + 1 :]
        self._keep(replace(state, lacks=lacks), {_place(1 - state.slot, block.index): block.content})
        if not any(lacks):
            self._check()
            self._due = now

    def _check(self) -> None:
        """Show the module the whole image, from the memory that it would run from."""
        state = self._state
        count = self._manifest(state.staged).blocks
        blocks = [self._store.read(_place(1 - state.slot, index)) or b"\x00" for index in range(count)]
        try:
            self._chip.check_firmware(blocks)
        except TrustError:
            gone: dict[str, bytes | None] = {_place(1 - state.slot, index): None for index in range(count)}
            self._keep(
                replace(state, staged=b"", lacks=b"", ready=False, reason=state.reason or Reason.IMAGE), gone
            )
            return
        self._keep(replace(state, ready=True))

    def switch(self, digest: bytes, now: int) -> bool:
        """Carry out an order that the module found authorised: run the received image on trial. False when it may not."""
        state = self._state
        if not state.ready or not equal(sm3(state.staged), digest):
            return False
        try:
            self._chip.switch_firmware(now)
        except TrustError:
            return False
        self._turn()
        return True

    def _turn(self) -> None:
        state = self._state
        self._keep(
            _State(slot=1 - state.slot, running=state.staged, before=state.running, trial_until=1, starts=1)
        )
        self._boot()
        self.restarts = True

    # --- what goes up -------------------------------------------------------------------------------------

    def report(self, session_id: bytes, now: int) -> bytes | None:
        """At the beginning of a session, when something was asked, and while something is under way."""
        if session_id != self._told:
            self._told, self._due, self._said = session_id, now, 0
        if now < self._due or (self._said >= _TRIED and self.phase in (Phase.IDLE, Phase.READY)):
            return None
        state = self._state
        self._said += 1
        self._due = now + min(self._pace.repeat << min(self._said, 16) - 1, self._pace.slowest)
        return firmware.report(
            Report(
                phase=self.phase,
                reason=self.reason,
                version=self.version,
                hardware=self._hardware,
                running=sm3(state.running) if state.running else NOTHING,
                staged=sm3(state.staged) if state.staged else NOTHING,
                refused=min(self.refused, 0xFFFF_FFFF),
                model=self._model,
                missing=state.lacks,
                blocks=self._manifest(state.staged).blocks if state.staged else 0,
            )
        )

    def _quiet(self, now: int) -> None:
        """The last report was answered: nothing more is said until something is asked, or is under way for long."""
        self._due = now + self._pace.slowest if self.phase in (Phase.RECEIVING, Phase.TRIAL) else _NEVER

    # --- memory -------------------------------------------------------------------------------------------

    def _keep(self, state: _State, pages: dict[str, bytes | None] | None = None) -> None:
        self._store.write({**(pages or {}), PAGE: msgspec.msgpack.encode(state)})
        self._state = state

    @staticmethod
    def _manifest(raw: bytes) -> Manifest:
        return firmware.read_manifest(raw)


_NEVER = 1 << 62


def sample(version: int, *, size: int = 0, flaw: int = 0) -> bytes:
    """A simulated image: magic, version 4, flaws 1 (`DEAD`, `MUTE`), then bytes that stand for a program."""
    head = MAGIC + version.to_bytes(4, "big") + bytes((flaw,))
    body = b"".join(sm3(head, k.to_bytes(4, "big")) for k in range(-(-max(size - len(head), 0) // 32)))
    return (head + body)[: max(size, len(head))]


def _place(slot: int, index: int) -> str:
    return f"{PAGE}/{slot}/{index:03x}"
