"""Station edge, a controller's view of its module: typed calls over the APDU port.

It keeps nothing and never sees a key. What travels in APDUs as a structure is a msgpack array of these
structs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import CardIns, Ins, ModulePort, call
from meterseal.errors import TrustError
from meterseal.link.cardkeys import CHALLENGE, presence
from meterseal.link.profiles import OURS
from meterseal.wire.frame import Frame

FACTORY, PERSONALISED, ACTIVE, LOCKED, DESTROYED = range(5)
"""Life cycle of a module; active is one that has had a session."""
FRAMES, GUARDED = 0xF0, 0xF1
"""`Opened.kind` of records that carry frames; all others are kinds of control (LINK section 4)."""

_T = TypeVar("_T", bound=Struct)


class Personal(Struct, frozen=True, array_like=True):
    """What personalisation writes, once. `envelope` is SM2-encrypted(K_b || K_r) to the module's own point.

    `root` and `chain` are DER (chain: leaf, CA) and empty under suite 2. `bound_at` is the first bound of
    time.
    """

    device_id: bytes
    suite: int
    project_id: bytes
    key_version: int
    bound_at: int
    envelope: bytes
    root: bytes = b""
    chain: tuple[bytes, ...] = ()
    profile: str = OURS.name
    """Its security profile (`link.profiles`), for good."""
    gathered: bool = False
    """Installed behind a concentrator, where answers may take 15 minutes; else the windows of IP hold, for good."""


class Kept(Struct, frozen=True, array_like=True):
    """Evidence that the module keeps because its record is not acknowledged yet."""

    channel: int
    sequence: int
    end_at: int


class PublicState(Struct, frozen=True, array_like=True):
    """What anyone may read of a module. `chained` is the end_at that each channel's chain reached."""

    life: int
    module_id: bytes
    device_id: bytes
    suite: int
    key_version: int
    point: bytes
    time_bound: int
    session_id: bytes
    policy: int
    outstanding: int
    command_number: int
    chained: dict[int, int]
    kept: tuple[Kept, ...]
    paired: bool = False
    """A paired module works for its own device alone (`CardIns.PRESENT`)."""
    own_policy: int = 1
    """The device's own message policy: 1 whatever SESSION says, 2 cipher only."""
    left: dict[int, int] = {}
    """Tries left of each counter that lost some (`cardmemory.Counter`)."""
    uses: dict[int, int] = {}
    """How often each card key was used (`cardmemory.Counter`)."""
    foreign: int = 0
    """How often something that is not its device asked a paired module (255 stands for more)."""
    profile: str = OURS.name
    gathered: bool = False
    """Whether the windows of time are those behind a concentrator."""


class Freeze(Struct, frozen=True, array_like=True):
    """One settlement freeze to be signed: the register at `end_at`, and the load profile since the last one.

    `readings` are (end_at, register) in order of end_at, missing ones left out.
    """

    channel: int
    end_at: int
    register: int
    exponent: int
    unit: int
    status: int
    readings: tuple[tuple[int, int], ...]


class Grant(Struct, frozen=True, array_like=True):
    """What SESSION granted. `clock_at` is the platform's time when the meter may set its clock to it, else
    0.
    """

    session_id: bytes
    records_allowed: int
    ends_at: int
    policy: int
    clock_at: int


class Opened(Struct, frozen=True, array_like=True):
    """One down record that held.

    `done` are counters that the sender may forget (ACK, or REJECT with its `reason`) of session
    `session_id`. `frames` are in clear. A guarded command has its `number`; `answer` is not empty when it
    was carried out before. `clock_at` is a TIME to set the clock by, else 0.
    """

    kind: int
    session_id: bytes
    frames: tuple[bytes, ...] = ()
    done: tuple[int, ...] = ()
    reason: int = 0
    number: int = 0
    answer: bytes = b""
    clock_at: int = 0
    firmware: bytes = b""
    """A word about firmware, which the module has judged: `reason` is 0 or what it has against it (`link.firmware`)."""
    not_after: int = 0
    """When a guarded command ends (Unix ms)."""


class FirmwareFacts(Struct, frozen=True, array_like=True):
    """What the module holds for installed: version and digest of its manifest (zeros: as made). `staged` and `trial` are
    digests of manifests, empty for none; `checked` says that the staged image was whole.
    """

    version: int
    running: bytes
    staged: bytes
    checked: bool
    trial: bytes


class Sealed(Struct, frozen=True, array_like=True):
    """A record that the module made, with the counter it used."""

    session_id: bytes
    counter: int
    record: bytes


def fits(frame: Frame) -> bool:
    """Whether a record upward takes the data field of a frame, padded by a byte at least (LINK section 4)."""
    return len(frame.data) < OURS.cipher[frame.protocol, True]


def unpack(content: bytes, kind: type[_T]) -> _T:
    """The struct of a packed one. TrustError `module.answer` when it is none."""
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except msgspec.MsgspecError:
        raise TrustError("module.answer", f"The module's answer is no {kind.__name__}; replace it.") from None


_pack = msgspec.msgpack.Encoder().encode


def _at(now: int) -> bytes:
    return now.to_bytes(8, "big")


class Chip:
    """Typed calls; each raises TrustError `module.sw` (with `word`) when the module refuses."""

    def __init__(self, port: ModulePort) -> None:
        self._port = port

    def make_key(self, module_id: bytes) -> bytes:
        """Factory: make the key pair; the public point, 65 bytes."""
        return call(self._port, Ins.MAKE_KEY, module_id)

    def personalise(self, personal: Personal) -> None:
        """Factory: write ids, keys and trust, once."""
        call(self._port, Ins.PERSONALISE, _pack(personal))

    def pair(self, envelope: bytes) -> None:
        """Personalised, once: the device's pairing key, SM2-encrypted to the module's point; the module works
        for this device alone from now on.
        """
        call(self._port, CardIns.PAIR, envelope)

    def present(self, pairing: SymmetricKey) -> None:
        """After power-on: prove to a paired module that it sits in its device."""
        challenge = call(self._port, CardIns.GET_CHALLENGE, expected=CHALLENGE)
        call(self._port, CardIns.PRESENT, presence(pairing, self.state().device_id, challenge))

    def state(self) -> PublicState:
        """The public state."""
        return unpack(call(self._port, Ins.READ_STATE), PublicState)

    def hello(self, now: int, *, direct: bool = False) -> bytes:
        """Begin a handshake: the HELLO message. `direct` holds the module to the windows of IP until the power goes."""
        return call(self._port, Ins.HELLO, _at(now), p1=1 if direct else 0)

    def platform(self, message: bytes, now: int) -> bytes:
        """PLATFORM in, DEVICE out."""
        return call(self._port, Ins.PLATFORM, _at(now) + message)

    def session(self, message: bytes, now: int) -> Grant:
        """SESSION in; the session is open and stored afterwards."""
        return unpack(call(self._port, Ins.SESSION, _at(now) + message), Grant)

    def seal(self, frames: bytes, now: int, *, vouched: bool = False) -> Sealed:
        """A record of these complete frames, acknowledgement wanted."""
        return unpack(call(self._port, Ins.SEAL, _at(now) + frames, p1=0x06 if vouched else 0x02), Sealed)

    def seal_control(self, kind: int, now: int, content: bytes = b"") -> Sealed:
        """A control record: PING, REKEY, CLOSE."""
        return unpack(call(self._port, Ins.SEAL_CONTROL, _at(now) + content, p1=kind), Sealed)

    def seal_evidence(self, channel: int, sequence: int, now: int) -> Sealed:
        """A control record with kept evidence."""
        content = _at(now) + bytes((channel,)) + sequence.to_bytes(4, "big")
        return unpack(call(self._port, Ins.SEAL_CONTROL, content, p1=0x07), Sealed)

    def open(self, record: bytes, now: int) -> Opened:
        """A down record, checked and opened; what it acknowledges is forgotten."""
        return unpack(call(self._port, Ins.OPEN, _at(now) + record), Opened)

    def keep_answer(self, number: int, answer: bytes) -> None:
        """Keep the answer to the last guarded command, for a repeat of it."""
        call(self._port, Ins.KEEP_ANSWER, number.to_bytes(8, "big") + answer)

    def sign(self, freeze: Freeze) -> int:
        """Sign a settlement freeze; its sequence. The statement is kept until its record is acknowledged."""
        return int.from_bytes(call(self._port, Ins.SIGN, _pack(freeze)), "big")

    def release(self, session_id: bytes, counter: int) -> None:
        """The other copy of this record was acknowledged: its counter is no longer outstanding."""
        call(self._port, Ins.RELEASE, session_id + counter.to_bytes(6, "big"))

    def check_firmware(self, blocks: Iterable[bytes]) -> None:
        """Show the whole image; refused with 6982 when it is not the one of the manifest."""
        call(self._port, Ins.FIRMWARE_CHECK, p1=0)
        for block in blocks:
            call(self._port, Ins.FIRMWARE_CHECK, block, p1=1)
        call(self._port, Ins.FIRMWARE_CHECK, p1=2)

    def switch_firmware(self, now: int) -> None:
        """Let the checked image run on trial, as an order said."""
        call(self._port, Ins.FIRMWARE_SWITCH, _at(now))

    def fall_back(self) -> None:
        """Say that the image before runs again."""
        call(self._port, Ins.FIRMWARE_FALL_BACK)

    def firmware(self) -> FirmwareFacts:
        """What the module knows of firmware."""
        return unpack(call(self._port, Ins.FIRMWARE_STATE), FirmwareFacts)
