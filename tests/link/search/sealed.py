"""The records as a game: modules, the bus of a plain meter, the head-end's steps, and an attacker.

The modules are the shipped emulator behind its typed port, the head-end's judgement is `headend.pipeline`
over `CounterSet`. The attacker owns the wire, disturbs the bus of the plain meter, and has a concentrator
of its own: enrolled, with a session and its keys. What is searched: every order of sealing, sending down,
delivering to anyone, repeating, reflecting and swapping fields. What is not: commits that fail (their test
is the lossy network) and guarded commands (their authorisation has tests of its own).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.errors import TrustError
from meterseal.headend import pipeline
from meterseal.headend.pipeline import Accepted, Arrival, Held, Proved, Spoken
from meterseal.headend.ports import Enrolment, StoredSession
from meterseal.link import control, records
from meterseal.link.counters import CounterSet
from meterseal.link.handshake import Granted
from meterseal.wire import encode
from tests.crypto.pki import NOW
from tests.edge.platform import STORAGE, Platform, shake_hands
from tests.wire import built

METER = bytes.fromhex("1078330011223344")
MASTER, ATTACKERS = bytes.fromhex("f000000000000001"), bytes.fromhex("f000000000000002")
PLAIN = bytes.fromhex("1078330011223377")
"""A sealed meter; the concentrator of a plain meter, and the plain meter; the attacker's own concentrator."""
READINGS = (111, 222)
VOUCHED = 333
FORGED = 999


def water(device_id: bytes, volume: int) -> bytes:
    """An answer with this register."""
    return built.current_data_answer(device_id, built.volume_payload(volume, 0, NOW)).encode()


SAID = {(METER, READINGS[0]), (METER, READINGS[1]), (PLAIN, VOUCHED)}
"""What meters said."""
ENROLMENTS = {
    METER: Enrolment(device_id=METER, plain=False, medium="water"),
    PLAIN: Enrolment(device_id=PLAIN, plain=True, medium="water", concentrator_id=MASTER),
}


def disturbed(frame: bytes) -> Iterator[tuple[str, bytes]]:
    """The frame as a noisy bus may give it: whole, and with single bits of its register changed."""
    yield "as it was said", frame
    for bit in (0, 4):
        at = frame.index(built.volume_payload(VOUCHED, 0, NOW)[:4])
        yield f"with bit {bit} changed", frame[:at] + bytes((frame[at] ^ 1 << bit,)) + frame[at + 1 :]


class State(NamedTuple):
    """Acts of each module, in order; counters consumed by session; what was taken; records sent down; what is known."""

    meter: tuple[tuple[str, int], ...]
    master: tuple[tuple[str, int], ...]
    consumed: tuple[tuple[int, ...], ...]
    taken: tuple[int, ...]
    down: int
    known: int
    wrong: str


class Sealed:
    """The game, for `explore`. Sessions are those of one real handshake each, made once."""

    def __init__(self) -> None:
        self._field = Platform()
        self._pages: dict[bytes, dict[str, bytes]] = {}
        self._granted: dict[bytes, Granted] = {}
        for device in (METER, MASTER, ATTACKERS):
            store = MemoryNv()
            chip, _ = self._field.module(device, b"M" + device[1:], 1, store)
            session_id = shake_hands(self._field, chip)
            self._granted[device] = self._field.sessions[session_id].granted
            self._pages[device] = dict(store.pages)
        self._sessions = {granted.session_id: self._stored(granted) for granted in self._granted.values()}
        self._order = list(self._sessions)
        self.executed = self.most_taken = 0
        self._records: list[bytes] = []
        self._labels: list[str] = []
        self._ids: dict[bytes, int] = {}
        self._makers: list[str] = []
        self._told: dict[tuple[object, ...], object] = {}
        self._ready: dict[tuple[tuple[str, int], ...], tuple[Chip, MemoryNv]] = {}
        self._sendables: dict[tuple[int, int], tuple[tuple[str, bytes], ...]] = {}

    @staticmethod
    def _stored(granted: Granted) -> StoredSession:
        return StoredSession(
            session_id=granted.session_id,
            device_id=granted.device_id,
            module_id=granted.module_id,
            suite=granted.suite,
            wrapped=b"",
            policy=granted.policy,
            records_allowed=granted.records_allowed,
            seconds_allowed=granted.seconds_allowed,
            created_at=NOW,
        )

    # --- the game -----------------------------------------------------------------------------------------

    def first(self) -> State:
        known = 0
        keys, session = self._granted[ATTACKERS].keys, self._granted[ATTACKERS].session_id
        forgeries = (
            ("a reading of the sealed meter, vouched by the attacker", METER, True),
            ("a reading of another's plain meter, vouched by the attacker", PLAIN, True),
            ("a reading of the sealed meter under the attacker's session", METER, False),
        )
        for counter, (label, device, vouched) in enumerate(forgeries, 1):
            record = records.seal_record(
                keys, session, counter, [water(device, FORGED)], up=True, vouched=vouched
            )
            known |= self._learn(record, label, "attacker")
        return State((), (), ((), (), ()), (), 0, known, "")

    def broken(self, state: State) -> str:
        return state.wrong

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        done = [what for what, _ in state.meter]
        acts: list[tuple[str, int]] = []
        if done.count("seal") < len(READINGS):
            acts.append(("seal", READINGS[done.count("seal")]))
        if "ping" not in done:
            acts.append(("ping", 0))
        for act in acts:
            yield self._own_act(state, "meter", act)
        if not state.master:
            for at, (how, _) in enumerate(disturbed(water(PLAIN, VOUCHED))):
                yield from self._vouch(state, at, how)
        if state.down < 2:
            yield self._send_down(state)
        for one, other in _pairs(state.known):
            for what, act in self._taken_by_meter(state, one, other):
                yield what, act
            yield from self._taken_by_service(state, one, other)

    # --- modules ------------------------------------------------------------------------------------------

    def _chip(self, device: bytes, acts: tuple[tuple[str, int], ...]) -> tuple[Chip, MemoryNv]:
        """The module after these acts, every one of them carried out again."""
        store = MemoryNv()
        store.pages = dict(self._pages[device])
        chip = Chip(Module(SealedNv(store, STORAGE, b"M" + device[1:])))
        for act in acts:
            self._carry_out(chip, act)
        return chip, store

    def _carry_out(self, chip: Chip, act: tuple[str, int]) -> bytes:
        self.executed += 1
        what, number = act
        if what == "seal":
            return chip.seal(water(METER, number), NOW).record
        if what == "ping":
            return chip.seal_control(control.PING, NOW).record
        if what == "vouch":
            frame = list(disturbed(water(PLAIN, VOUCHED)))[number][1]
            return chip.seal(frame, NOW, vouched=True).record
        chip.open(self._records[number], NOW)
        return b""

    def _own_act(self, state: State, who: str, act: tuple[str, int]) -> tuple[str, State]:
        key = ("own", state.meter, act)
        if key not in self._told:
            self._told[key] = self._carry_out(self._chip(METER, state.meter)[0], act)
        record = self._told[key]
        assert isinstance(record, bytes)
        label = f"the meter's {'PING' if act[0] == 'ping' else f'reading {act[1]}'}"
        known = state.known | self._learn(record, label, "meter")
        return f"{label} is sealed", state._replace(meter=(*state.meter, act), known=known)

    def _vouch(self, state: State, at: int, how: str) -> Iterator[tuple[str, State]]:
        key = ("vouch", at)
        if key not in self._told:
            chip, store = self._chip(MASTER, ())
            before = dict(store.pages)
            try:
                self._told[key] = self._carry_out(chip, ("vouch", at))
            except TrustError:
                assert store.pages == before, "a refused frame changed the module"
                self._told[key] = None
        record = self._told[key]
        if isinstance(record, bytes):
            label = f"the vouched reading {how}"
            known = state.known | self._learn(record, label, "master")
            yield f"{label} is sealed", state._replace(master=(("vouch", at),), known=known)

    def _send_down(self, state: State) -> tuple[str, State]:
        granted, counter = self._granted[METER], state.down + 1
        if counter == 1:
            frame = encode.read_request(METER, 0x901F).encode()
            record = records.seal_record(granted.keys, granted.session_id, 1, [frame], up=False)
        else:
            record = control.seal_control(granted.keys, granted.session_id, 2, control.ping(), up=False)
        label = ("the request", "the service's PING")[state.down]
        known = state.known | self._learn(record, label, "service")
        return f"{label} is sent", state._replace(down=counter, known=known)

    def _taken_by_meter(self, state: State, one: int, other: int) -> Iterator[tuple[str, State]]:
        key = ("meter", state.meter, one, other)
        if key not in self._told:
            self._told[key] = tuple(
                (label, self._number(record, label, "attacker"))
                for label, record in self._sendable(one, other)
                if self._opens(state.meter, record)
            )
        for label, number in self._told[key]:  # type: ignore[attr-defined]
            opened = [at for what, at in state.meter if what == "open"]
            wrong = ""
            if self._makers[number] != "service":
                wrong = "said down: the module acts on what the service did not send"
            elif number in opened:
                wrong = "once: the module acts twice on one record"
            elif opened and self._counter(opened[-1]) >= self._counter(number):
                wrong = "in order: the module acts on a record older than the last"
            acts = (*state.meter, ("open", number))
            yield f"the module takes {label}", state._replace(meter=acts, wrong=wrong)

    def _counter(self, number: int) -> int:
        return records.parse_header(self._records[number]).counter

    def _opens(self, acts: tuple[tuple[str, int], ...], record: bytes) -> bool:
        """Does the module take the record after these acts? One that refused goes on to the next record."""
        if acts not in self._ready:
            self._ready[acts] = self._chip(METER, acts)
        chip, store = self._ready[acts]
        before = dict(store.pages)
        self.executed += 1
        try:
            chip.open(record, NOW)
        except TrustError:
            assert store.pages == before, "a refused record changed the module"
            return False
        del self._ready[acts]
        return True

    # --- the service --------------------------------------------------------------------------------------

    def _taken_by_service(self, state: State, one: int, other: int) -> Iterator[tuple[str, State]]:
        key = ("service", state.consumed, one, other)
        if key not in self._told:
            judged = [
                (label, record, self._judge(state.consumed, record))
                for label, record in self._sendable(one, other)
            ]
            self._told[key] = tuple(
                (label, self._number(record, label, "attacker"), found)
                for label, record, found in judged
                if found is not None
            )
        for label, number, found in self._told[key]:  # type: ignore[attr-defined]
            kind, place, counter, wrong = found
            if not wrong and self._makers[number] == "attacker" and kind != "held":
                wrong = f"said up: the service takes ({kind}) what no module sealed"
            if not wrong and self._makers[number] == "service":
                wrong = f"said up: the service takes ({kind}) what it said itself"
            if kind == "spoken":
                if wrong:
                    yield f"the service takes {label}", state._replace(wrong=wrong)
                continue
            if kind == "accepted":
                self.most_taken = max(self.most_taken, len(state.taken) + 1)
                if number in state.taken and not wrong:
                    wrong = "once: the service takes one record twice"
            consumed = tuple(
                tuple(sorted({*ones, counter})) if at == place else ones
                for at, ones in enumerate(state.consumed)
            )
            taken = tuple(sorted((*state.taken, number)))
            yield (
                f"the service takes {label}",
                state._replace(consumed=consumed, taken=taken, wrong=wrong),
            )

    def _judge(
        self, consumed: tuple[tuple[int, ...], ...], record: bytes
    ) -> tuple[str, int, int, str] | None:
        """The head-end's steps in their order, as the uplink calls them."""
        self.executed += 1
        came = Arrival(record, "192.0.2.1", b"", b"", NOW)
        header = pipeline.read_header(came)
        if isinstance(header, pipeline.Refused) or header.session_id not in self._sessions:
            return None
        session = self._sessions[header.session_id]
        place = self._order.index(header.session_id)
        keys = self._granted[session.device_id].keys
        verdict = pipeline.prove(came, header, session, keys, CounterSet(consumed[place]))
        if isinstance(verdict, Proved):
            verdict = pipeline.open_and_say(came, verdict, session, keys, ENROLMENTS)
        if isinstance(verdict, Accepted):
            said = {(one.device_id, value) for one in verdict.opened.series for value in one.registers}
            wrong = "" if said <= SAID else "origin: the service takes a reading that its meter never said"
            return "accepted", place, header.counter, wrong
        if isinstance(verdict, Held):
            return "held", place, header.counter, ""
        if isinstance(verdict, Spoken):
            return "spoken", place, header.counter, ""
        return None

    # --- the attacker -------------------------------------------------------------------------------------

    def _learn(self, record: bytes, label: str, maker: str) -> int:
        return 1 << self._number(record, label, maker)

    def _number(self, record: bytes, label: str, maker: str) -> int:
        if record not in self._ids:
            self._ids[record] = len(self._records)
            self._records.append(record)
            self._labels.append(label)
            self._makers.append(maker)
        return self._ids[record]

    def _sendable(self, one: int, other: int) -> tuple[tuple[str, bytes], ...]:
        if (one, other) not in self._sendables:
            record, label = self._records[one], self._labels[one]
            if one == other:
                turned = record[:3] + bytes((record[3] ^ records.DOWN,)) + record[4:]
                flat = record[:3] + bytes((record[3] & records.DOWN,)) + record[4:]
                self._sendables[one, other] = (
                    (label, record),
                    (f"{label}, turned", turned),
                    (f"{label}, flags off", flat),
                )
            else:
                self._sendables[one, other] = tuple(
                    (f"{label} with {how} of {self._labels[other]}", mixed)
                    for how, mixed in _mixed(record, self._records[other])
                )
        return self._sendables[one, other]


def _pairs(known: int) -> Iterator[tuple[int, int]]:
    numbers = [at for at in range(known.bit_length()) if known >> at & 1]
    for one in numbers:
        for other in numbers:
            yield one, other


def _mixed(record: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
    """`record` with one or two fields of another; the length follows the body."""
    ours, theirs = _fields(record), _fields(other)
    names = [name for name in ours if ours[name] != theirs[name]]
    for count in (1, 2):
        for chosen in combinations(names, count):
            parts = {name: (theirs if name in chosen else ours)[name] for name in ours}
            size = len(parts["body"]).to_bytes(2, "big")
            head = record[:3] + parts["flags"] + parts["session_id"] + parts["counter"] + size
            mixed = head + parts["body"] + parts["tag"]
            if mixed not in (record, other):
                yield " and ".join(chosen), mixed


def _fields(record: bytes) -> dict[str, bytes]:
    return {
        "flags": record[3:4],
        "session_id": record[4:12],
        "counter": record[12:18],
        "body": record[20:-16],
        "tag": record[-16:],
    }
