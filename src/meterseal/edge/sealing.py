"""Station edge, inside the module: records sealed upwards and opened downwards, their counters, guarded
commands.

It makes no session (`handshaking` does). Before a counter is used it lies below a reservation that was
written; before a command is handed out its number was written; a record that does not hold changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from meterseal.crypto import certificates
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import Command, Sw
from meterseal.edge.cardmemory import CIPHER_ONLY, CardMemory
from meterseal.edge.chip import FRAMES, GUARDED, Opened, Sealed
from meterseal.edge.chipmemory import Memory, OpenSession, evidence_page, pack
from meterseal.edge.firmware_module import FirmwareModule
from meterseal.edge.handshaking import RESERVE
from meterseal.edge.image import SessionState, Trust
from meterseal.edge.refusal import need, timed
from meterseal.errors import PeerError
from meterseal.link import commands, control, records
from meterseal.link.control import Word
from meterseal.link.identities import check_renewed_chain, is_concentrator
from meterseal.link.proving import clock_window
from meterseal.link.records import Header
from meterseal.link.schedule import update_key
from meterseal.model import medium_of
from meterseal.wire.frame import Frame, Protocol, parse_frames

MOST_OUTSTANDING = 64
PLAIN_ONLY = 0x00
"""A message policy of SESSION."""


class Sealing:
    """SEAL, SEAL CONTROL, OPEN, KEEP ANSWER and RELEASE."""

    def __init__(self, memory: Memory, card: CardMemory, firmware: FirmwareModule) -> None:
        self._memory = memory
        self._card = card
        self._firmware = firmware
        self._outstanding: dict[bytes, dict[int, tuple[int, int] | None]] = {}
        self._pings: dict[int, int] = {}

    def outstanding(self) -> int:
        """Unacknowledged counters of the session that sends."""
        current = self._memory.state.current
        return 0 if current is None else len(self._outstanding.get(current.session_id, ()))

    # --- up ---------------------------------------------------------------------------------------------

    def seal(self, command: Command) -> bytes:
        """Complete frames of this device into a record; of a concentrator: of others, vouched."""
        now, content = timed(command.content)
        state = self._memory.state
        vouched = bool(command.p1 & records.VOUCHED)
        gathers = is_concentrator(state.device_id)
        need(vouched == gathers and not command.p1 & ~(records.VOUCHED | records.WANTED), Sw.CONDITIONS)
        try:
            frames = parse_frames(content, self._protocol())
        except PeerError:
            need(False, Sw.WRONG_DATA)
            raise
        need(gathers or all(frame.device_id == state.device_id for frame in frames), Sw.SECURITY)
        session = self._sending(now, kept=True)
        flags = records.WANTED | (records.VOUCHED if vouched else 0)
        if self._card.policy(session.state.policy) == PLAIN_ONLY:
            flags |= records.PLAIN
            body = content
        else:
            profile = self._memory.profile
            body = records.encrypt_frames(session.keys.up, session.next_up, frames, up=True, profile=profile)
        record = records.finish(session.keys.up, flags, session.state.session_id, session.next_up, body)
        return self._sent(session, record, None)

    def seal_control(self, command: Command) -> bytes:
        """PING, REKEY, CLOSE, FIRMWARE, or EVIDENCE that is kept."""
        now, content = timed(command.content)
        kind, place = command.p1, None
        if kind == control.EVIDENCE:
            need(len(content) == 5, Sw.WRONG_LENGTH)
            place = content[0], int.from_bytes(content[1:], "big")
            kept = self._memory.kept.get(place)
            need(kept is not None, Sw.NOT_FOUND)
            assert kept is not None
            word = control.evidence(kept.statement, kept.signature)
        else:
            need(kind in (control.PING, control.REKEY, control.CLOSE, control.FIRMWARE), Sw.WRONG_DATA)
            word = Word(kind, content)
        session = self._sending(now, kept=place is not None)
        sid, counter = session.state.session_id, session.next_up
        record = control.seal_control(session.keys, sid, counter, word, up=True, profile=self._memory.profile)
        if kind == control.PING:
            self._pings = {counter: now}
        if kind == control.FIRMWARE:
            self._firmware.reported(sid, counter, word.content)
        return self._sent(session, record, place, kept=place is not None)

    def _sending(self, now: int, *, kept: bool) -> OpenSession:
        """The session that sends, with an up counter that may be used: reserved, and within its limits."""
        current = self._memory.state.current
        need(current is not None, Sw.CONDITIONS)
        assert current is not None
        session = self._memory.sessions[current.session_id]
        need(session.next_up <= current.records_allowed and now < current.ends_at, Sw.CONDITIONS)
        need(not kept or self.outstanding() < MOST_OUTSTANDING, Sw.FULL)
        if session.next_up >= current.up_reserved:
            reserved = replace(current, up_reserved=session.next_up + RESERVE)
            self._memory.save_session(session, reserved)
        return session

    def _sent(
        self, session: OpenSession, record: bytes, place: tuple[int, int] | None, *, kept: bool = True
    ) -> bytes:
        sid, counter = session.state.session_id, session.next_up
        session.next_up += 1
        if kept:
            self._outstanding.setdefault(sid, {})[counter] = place
        return pack(Sealed(sid, counter, record))

    def release(self, command: Command) -> bytes:
        """Give up a counter whose record was acknowledged in another copy."""
        need(len(command.content) == 14, Sw.WRONG_LENGTH)
        waiting = self._outstanding.get(command.content[:8], {})
        counter = int.from_bytes(command.content[8:], "big")
        need(counter in waiting, Sw.NOT_FOUND)
        del waiting[counter]
        return b""

    # --- down -------------------------------------------------------------------------------------------

    def open(self, command: Command) -> bytes:
        """Check and open a down record; its counter is written before anything comes of it."""
        now, record = timed(command.content)
        header = records.parse_header(record, up=False)
        session = self._memory.sessions.get(header.session_id)
        need(session is not None, Sw.SECURITY)
        assert session is not None
        need(records.check_tag(session.keys, record), Sw.SECURITY)
        need(header.counter > session.state.down_last, Sw.SECURITY)
        after = replace(session.state, down_last=header.counter)
        if header.control:
            word = control.open_control(session.keys, header, record, self._memory.profile)
            return pack(self._word(session, after, word, now))
        if header.guarded:
            return pack(self._guarded(session, after, header, record, now))
        return pack(self._requests(session, after, header, record))

    def _word(self, session: OpenSession, after: SessionState, word: Word, now: int) -> Opened:
        """A word of control: what it lets the module forget goes in the same write as its counter."""
        sid = session.state.session_id
        if word.kind in (control.ACK, control.REJECT):
            return self._acknowledged(session, after, word)
        if word.kind == control.FIRMWARE:
            reason, kept = self._firmware.heard(sid, word.content, now)
            pages = self._firmware.pages(kept)
            self._memory.save_session(session, after, pages=pages, settled=bool(pages))
            self._firmware.adopt(kept)
            return Opened(word.kind, sid, reason=reason, firmware=word.content)
        clock_at = 0
        if word.kind == control.TIME:
            at, ping = control.read_time(word.content)
            asked = self._pings.get(ping)
            within = clock_window(gathered=self._memory.gathered)
            need(asked is not None and now - asked <= within, Sw.SECURITY)
            until = after.certificate_until
            need(at >= self._memory.state.time_bound and (not until or at <= until), Sw.SECURITY)
            clock_at = at
        if word.kind == control.KEY:
            self._memory.save_session(session, after, bound_keys=self._updated_keys(word))
        elif word.kind == control.CERT:
            self._memory.save_session(session, after, trust=self._renewed_chain(word))
        else:
            self._memory.save_session(session, after, settled=False)
        return Opened(word.kind, sid, clock_at=clock_at)

    def _updated_keys(self, word: Word) -> dict[int, bytes]:
        """All slots with the new one; the old serves until the first handshake with the new."""
        state = self._memory.state
        update = update_key(SymmetricKey.from_bytes(state.module_root, "K_r of the module"))
        installed = max(state.bound_keys)
        version, key = control.read_key(update, state.device_id, state.serial, installed, word.content)
        return {**state.bound_keys, version: expose(key)}

    def _renewed_chain(self, word: Word) -> Trust:
        """Root and renewed chain; the next handshake shows it (ADR 0011)."""
        memory, state = self._memory, self._memory.state
        need(state.suite == 1 and memory.private is not None, Sw.CONDITIONS)
        assert memory.private is not None
        chain = control.read_cert(word.content)
        check_renewed_chain(
            chain,
            root=memory.trust.root,
            device_id=state.device_id,
            module_id=state.serial,
            point=memory.private.public_point,
            until=certificates.parse(memory.trust.chain[0]).until,
            bound=state.time_bound,
        )
        return Trust(memory.trust.root, chain)

    def _acknowledged(self, session: OpenSession, after: SessionState, word: Word) -> Opened:
        memory, sid = self._memory, session.state.session_id
        waiting, reason = self._outstanding.get(sid, {}), 0
        if word.kind == control.ACK:
            ranges = control.read_ack(word.content)
            done = [counter for counter in waiting if any(counter in one for one in ranges)]
        else:
            counter, reason = control.read_reject(word.content)
            done = [counter] if counter in waiting else []
        places = [waiting[counter] for counter in done]
        proved = [place for place in places if place is not None and place in memory.kept]
        gone: dict[str, bytes | None] = {evidence_page(*place): None for place in proved}
        memory.save_session(session, after, pages=gone, settled=False)
        for place in proved:
            del memory.kept[place]
        for counter in done:
            del waiting[counter]
        current = memory.state.current
        if current is not None and sid == current.session_id and memory.state.previous is not None:
            self._let_go(memory.state.previous.session_id)
        return Opened(word.kind, sid, done=tuple(done), reason=reason)

    def _let_go(self, session_id: bytes) -> None:
        """The new session's first acknowledgement ends the old one's down keys."""
        self._memory.save(previous=None, settled=False)
        self._memory.sessions.pop(session_id, None)
        self._outstanding.pop(session_id, None)

    def _requests(self, session: OpenSession, after: SessionState, header: Header, record: bytes) -> Opened:
        """Read requests for this device, or plain meters behind it; nothing else travels down without a guard."""
        policy = self._card.policy(after.policy)
        need(not (header.plain and policy == CIPHER_ONLY), Sw.SECURITY)
        need(header.plain or policy != PLAIN_ONLY, Sw.SECURITY)
        frames = records.parse_body(header, record, self._protocol())
        records.check_addresses(header, frames, self._memory.state.device_id)
        opened = records.open_frames(session.keys, header, frames, self._memory.profile)
        need(all(commands.is_read(frame) for frame in opened), Sw.SECURITY)
        self._memory.save_session(session, after, settled=False)
        return Opened(FRAMES, after.session_id, frames=_encoded(opened))

    def _guarded(
        self, session: OpenSession, after: SessionState, header: Header, record: bytes, now: int
    ) -> Opened:
        """A command that the security service authorised: number and counter are written before the frame
        is given out.
        """
        memory, state = self._memory, self._memory.state
        keys = memory.bound(after.key_version)
        need(keys is not None, Sw.CONDITIONS)
        assert keys is not None
        command = commands.open_guarded(
            session.keys, header, record, state.device_id, self._protocol(), memory.profile
        )
        verdict = commands.judge(
            keys.command,
            state.device_id,
            command,
            last_number=state.command_number,
            last_authorisation=state.command_authorisation,
            clock=now,
            bound=state.time_bound,
        )
        if verdict == "repeat":
            memory.save_session(session, after, settled=False)
            return Opened(GUARDED, after.session_id, number=command.number, answer=state.command_answer)
        kept = self._firmware.ordered(command.frame)
        memory.save_session(
            session,
            after,
            pages=self._firmware.pages(kept),
            command_number=command.number,
            command_authorisation=command.authorisation,
            command_answer=b"",
        )
        self._firmware.adopt(kept)
        return Opened(
            GUARDED,
            after.session_id,
            frames=_encoded([command.frame]),
            number=command.number,
            not_after=command.not_after,
        )

    def keep_answer(self, command: Command) -> bytes:
        """Store the answer to the last guarded command."""
        number, answer = timed(command.content)
        need(bool(answer) and 0 < number == self._memory.state.command_number, Sw.CONDITIONS)
        self._memory.save(command_answer=answer)
        return b""

    def _protocol(self) -> Protocol | None:
        """Of the frames in its records; a concentrator's are of whatever meters are plain behind it."""
        if is_concentrator(self._memory.state.device_id):
            return None
        return "dlt645" if medium_of(self._memory.state.device_id) == "electricity" else "cjt188"


def _encoded(frames: Sequence[Frame]) -> tuple[bytes, ...]:
    return tuple(frame.encode() for frame in frames)
