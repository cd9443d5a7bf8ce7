"""One record's way up, as named steps that can be read aloud: header, session, tag, counter, frames, addresses, open, say.

Pure: no clock, no socket, no store. What needs an answer from elsewhere (the session, the enrolment of vouched meters) is
asked for by the shell between the steps. A record passes whole or not at all, and nothing moves before its tag is good
(LINK section 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto.symmetric import sm3
from meterseal.errors import MetersealError
from meterseal.headend import clocks, findings
from meterseal.headend.ports import Enrolment, StoredSession
from meterseal.headend.saying import UP, Said, say
from meterseal.link import control, profiles, records
from meterseal.link.counters import CounterSet
from meterseal.link.records import Header
from meterseal.link.schedule import TrafficKeys
from meterseal.model import Opened, Quarantined, Refusal, medium_of
from meterseal.wire.frame import Frame
from meterseal.wire.frame import Protocol as FrameProtocol
from meterseal.wire.roster import is_roster

HANDSHAKE = b"MS"
ERROR = 0xC0
"""Bits of the control code of an error answer, in both protocols."""
PLAIN_ONLY, CIPHER_ONLY = 0, 2
"""Message policies of SESSION: frames with cipher data fields are refused under the one, plain ones (flag bit 4) under
the other. Control, evidence included, is cipher under all of them."""

DOES_NOT_DECODE, POLICY, UNKNOWN_METER = 1, 2, 3
"""Classes of REJECT (LINK section 4)."""


class Arrival(Struct, frozen=True):
    """One message from a socket: `claimed` is the device id of its envelope, empty on a device's own link.

    `proven` says whether the transport proves that its sender receives at `source`: a stream does, a datagram does not.
    `way` names the kind of transport where it does not.
    """

    message: bytes
    source: str
    concentrator_id: bytes
    claimed: bytes
    received_at: int
    proven: bool = True
    way: str = ""

    @property
    def gathered(self) -> bool:
        """Did a concentrator carry it for another device?"""
        return bool(self.concentrator_id) and self.claimed != self.concentrator_id


class Refused(Struct, frozen=True):
    """The record changed nothing; the audit trail says why."""

    refusal: Refusal


class Again(Struct, frozen=True):
    """A counter that was committed or rejected before: it gets its answer again and changes nothing."""

    counter: int
    refusal: Refusal


class Accepted(Struct, frozen=True):
    """The record is proved, opened and decoded; its commit consumes the counter.

    `answer` is its frame in clear where it has just one that may answer a word; else empty.
    """

    opened: Opened
    answer: bytes = b""
    found: tuple[tuple[int, Refusal], ...] = ()
    """Entries about meters that a concentrator found and nobody enrolled, each with its bus."""
    raised: tuple[Refusal, ...] = ()
    """Entries about what plain meters raised the alarm about."""


class Held(Struct, frozen=True):
    """A good tag, but it does not decode, breaks policy or names an unknown meter: durable quarantine and REJECT.

    `answer` as in `Accepted`: an error answer, or that of a write, says no reading but may answer a word.
    """

    quarantined: Quarantined
    answer: bytes = b""


class Spoken(Struct, frozen=True):
    """A control word that is answered and not committed: PING, REKEY, CLOSE, or FIRMWARE with its content."""

    kind: int
    counter: int
    content: bytes = b""


Verdict = Refused | Again | Accepted | Held | Spoken


class Proved(Struct, frozen=True):
    """A record whose tag is good and whose counter is new; `frames` are still ciphertext, none for control."""

    header: Header
    frames: tuple[Frame, ...]


class Consumed(Protocol):
    def __contains__(self, counter: int) -> bool: ...


def is_handshake(message: bytes) -> bool:
    """Handshake messages begin with 4D 53, records with 4D 52."""
    return message[:2] == HANDSHAKE


def read_header(arrival: Arrival) -> Header | Refused:
    """Step 1: lengths, version and legal flags; an up record only."""
    try:
        header = records.parse_header(arrival.message)
    except MetersealError as error:
        return _refused(arrival, error.code, error.message)
    if not header.up:
        return _refused(
            arrival, "link.direction", "A record that runs downward came up; it was reflected or misrouted."
        )
    return header


def no_session(arrival: Arrival, header: Header) -> Refused:
    """Step 2 found nobody: the session was never made here, or its backlog time is over."""
    sentence = "The record names a session that does not exist or whose keys are destroyed; the device must shake hands."
    return _refused(arrival, "link.session", sentence, header)


def prove(
    arrival: Arrival, header: Header, session: StoredSession, keys: TrafficKeys, consumed: CounterSet
) -> Proved | Verdict:
    """Steps 3 to 6: tag in constant time, counter, checksums, addresses."""
    if arrival.claimed and arrival.claimed != session.device_id:
        sentence = "The envelope names another device than the session; it was put around a foreign record."
        return _refused(arrival, "link.envelope", sentence, header, session)
    if not records.check_tag(keys, arrival.message):
        sentence = "The tag of the record does not fit its bytes: it was altered on the way or sealed under other keys."
        return _refused(arrival, "link.tag", sentence, header, session)
    if header.counter in consumed:
        sentence = (
            f"Counter {header.counter} of this session was committed before: a replay or a lost answer."
        )
        return Again(header.counter, _refusal(arrival, "link.replay", sentence, header, session))
    if header.control:
        return Proved(header, ())
    try:
        protocol = None if header.vouched else _protocol(session.device_id)
        frames = tuple(records.parse_body(header, arrival.message, protocol))
        records.check_addresses(header, frames, session.device_id)
    except MetersealError as error:
        return _held(arrival, header, session, DOES_NOT_DECODE, error.code)
    return Proved(header, frames)


def _protocol(device_id: bytes) -> FrameProtocol:
    # Named, not guessed: an address byte 68 can make a CJ/T 188 frame look like DL/T 645.
    return "dlt645" if medium_of(device_id) == "electricity" else "cjt188"


def named_devices(proved: Proved) -> set[bytes]:
    """The meters whose frames a vouched record carries."""
    return {frame.device_id for frame in proved.frames}


def open_and_say(
    arrival: Arrival,
    proved: Proved,
    session: StoredSession,
    keys: TrafficKeys,
    enrolments: Mapping[bytes, Enrolment],
) -> Verdict:
    """Steps 7 to 9: decrypt and unpad, decode, policy and least protection; then what is to be committed."""
    header = proved.header
    if header.control:
        return _control(arrival, header, session, keys)
    strange = _strange(proved, session, enrolments) if header.vouched else set()
    if session.policy == (CIPHER_ONLY if header.plain else PLAIN_ONLY):
        return _held(arrival, header, session, POLICY, "link.policy")
    answer = b""
    try:
        frames = records.open_frames(keys, header, proved.frames, profiles.load(session.profile))
        answer = _answer(frames)
        if any(frame.device_id in strange and not findings.is_one(frame) for frame in frames):
            held = _held(arrival, header, session, UNKNOWN_METER, "link.vouching")
            # It may say what it did about whom it reads, whoever that is or was, and that it did nothing.
            may = is_roster(frames[0]) or frames[0].control & ERROR == ERROR
            return Held(held.quarantined, answer if may else b"")
        alarms = [frame for frame in frames if header.vouched and findings.is_alarm(frame)]
        seen = [frame for frame in frames if header.vouched and clocks.is_one(frame)]
        others = [one for one in frames if one not in alarms and one not in seen]
        said = say(others, arrival.received_at, vouched=header.vouched)
        looked = tuple(clocks.seen(frame, arrival.received_at) for frame in seen)
    except MetersealError as error:
        held = _held(arrival, header, session, DOES_NOT_DECODE, error.code)
        return Held(held.quarantined, answer)
    found = tuple(
        (
            findings.bus(frame),
            _refusal(
                arrival, findings.CODE, findings.sentence(frame, session.device_id), header, session, frame
            ),
        )
        for frame in frames
        if header.vouched and findings.is_one(frame)
    )
    raised = tuple(
        _refusal(arrival, code, sentence, header, session, frame)
        for frame in alarms
        for code, sentence in findings.raised(frame, session.device_id)
    )
    raised += tuple(
        _refusal(arrival, clocks.CODE, clocks.sentence(one, session.device_id), header, session, frame)
        for one, frame in zip(looked, seen, strict=True)
        if clocks.is_far(one)
    )
    opened = _accepted(arrival, header, session, said).opened
    return Accepted(replace(opened, clocks=looked), answer, found, raised)


def _strange(proved: Proved, session: StoredSession, enrolments: Mapping[bytes, Enrolment]) -> set[bytes]:
    """Meters that are not enrolled as plain behind this very concentrator: it may say that it found them, no more."""
    strange = set()
    for device_id in named_devices(proved):
        meter = enrolments.get(device_id)
        if meter is None or not meter.plain or meter.concentrator_id != session.device_id:
            strange.add(device_id)
    return strange


def as_answer(arrival: Arrival, session: StoredSession, verdict: Accepted | Held) -> Accepted:
    """What is committed of a record whose frame answered a word.

    Readings at the meter's own clock are kept as readings too. A value of DL/T 645 has none and is not: sealed again
    after a power cut it would stand at another time (ADR 0010).
    """
    if isinstance(verdict, Held):
        return Accepted(_opened(arrival, session, verdict.quarantined.counter, Said(), vouched=False))
    timed = tuple(
        series
        for series in verdict.opened.series
        if series.step or medium_of(series.device_id) != "electricity"
    )
    return Accepted(replace(verdict.opened, series=timed))


def _answer(frames: Sequence[Frame]) -> bytes:
    if len(frames) != 1 or not frames[0].control & UP:
        return b""
    return frames[0].encode()


def _control(arrival: Arrival, header: Header, session: StoredSession, keys: TrafficKeys) -> Verdict:
    try:
        word = control.open_control(keys, header, arrival.message, profiles.load(session.profile))
        if word.kind in (control.PING, control.REKEY, control.CLOSE, control.FIRMWARE):
            return Spoken(word.kind, header.counter, word.content)
        if word.kind == control.EVIDENCE:
            evidence = control.read_evidence(word.content, session.suite)
            if evidence.device_id != session.device_id:
                return _held(arrival, header, session, POLICY, "link.address")
            return _accepted(arrival, header, session, Said(evidence=(evidence,)))
    except MetersealError as error:
        return _held(arrival, header, session, DOES_NOT_DECODE, error.code)
    return _held(arrival, header, session, POLICY, "link.control")


def _accepted(arrival: Arrival, header: Header, session: StoredSession, said: Said) -> Accepted:
    return Accepted(_opened(arrival, session, header.counter, said, vouched=header.vouched))


def _opened(arrival: Arrival, session: StoredSession, counter: int, said: Said, *, vouched: bool) -> Opened:
    return Opened(
        session_id=session.session_id,
        counter=counter,
        device_id=session.device_id,
        module_id=session.module_id,
        suite=session.suite,
        origin="vouched" if vouched else "sealed",
        received_at=arrival.received_at,
        digest=sm3(arrival.message),
        series=said.series,
        statuses=said.statuses,
        evidence=said.evidence,
        heats=said.heats,
    )


def _held(arrival: Arrival, header: Header, session: StoredSession, reject_class: int, code: str) -> Held:
    return Held(
        Quarantined(
            session_id=session.session_id,
            counter=header.counter,
            device_id=session.device_id,
            received_at=arrival.received_at,
            reject_class=reject_class,
            code=code,
            record=arrival.message,
        )
    )


def _refused(
    arrival: Arrival,
    code: str,
    sentence: str,
    header: Header | None = None,
    session: StoredSession | None = None,
) -> Refused:
    return Refused(_refusal(arrival, code, sentence, header, session))


def _refusal(
    arrival: Arrival,
    code: str,
    sentence: str,
    header: Header | None,
    session: StoredSession | None,
    about: Frame | None = None,
) -> Refusal:
    sender = session.device_id if session else arrival.claimed
    return Refusal(
        at=arrival.received_at,
        code=code,
        sentence=sentence,
        device_id=sender if about is None else about.device_id,
        session_id=header.session_id if header else b"",
        counter=header.counter if header else 0,
        source=arrival.source,
    )
