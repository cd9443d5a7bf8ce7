"""Beside the path: records sealed at a module's end and opened at the platform's, commands and control words with them.

It shakes no hands and stores nothing. The bound of a row is SM4-CBC over the same padded bytes in one call and HMAC-SM3
over the same record, bare, in the same rounds: no record can be cheaper than its bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError
from meterseal.headend import pipeline
from meterseal.headend.ports import StoredSession
from meterseal.kit.bench import raw
from meterseal.kit.bench.timing import Case, Limit, Watch
from meterseal.link import commands, control, records
from meterseal.link.counters import CounterSet
from meterseal.link.schedule import TrafficKeys
from meterseal.model import MAIN
from meterseal.units import unit_code
from meterseal.wire import encode
from meterseal.wire.frame import Frame

DEVICE, SESSION = bytes.fromhex("1078330011223344"), bytes(range(8))
START = 1_794_999_600_000
UNIT = "records per CPU second"
VALUES = 20
SIZES = (1, 3, 5)
_SLICE = 50


def keys() -> TrafficKeys:
    """Fresh traffic keys."""
    return TrafficKeys(*(os.urandom(size) for size in (16, 32, 16) * 2))


def blocks(count: int) -> list[Frame]:
    """Interval blocks of a water meter: 20 hourly registers each, one after the other."""
    return [
        encode.interval_block(
            DEVICE,
            start_at=START + at * VALUES * 3_600_000,
            step_minutes=60,
            channel=MAIN,
            unit=unit_code("m3"),
            registers=[123_400 + at * VALUES + one for one in range(VALUES)],
        )
        for at in range(count)
    ]


class Sealing:
    """One session's keys with the frames of one record, and what each step of its way does with them."""

    def __init__(self, count: int) -> None:
        self.keys = keys()
        self.frames = blocks(count)
        self.encoded = [frame.encode() for frame in self.frames]
        self.counter = 0
        self.record = self.seal()
        padded = sum(len(one.data) // 16 * 16 + 16 for one in self.frames)
        self.limit = Limit(
            f"SM4-CBC of {padded} B and HMAC-SM3 of {len(self.record)} B",
            ((_SLICE, raw.cbc(padded)), (_SLICE, raw.hmac(len(self.record)))),
            units=_SLICE,
        )
        self.session = StoredSession(
            session_id=SESSION,
            device_id=DEVICE,
            module_id=bytes(8),
            suite=1,
            wrapped=b"",
            policy=2,
            records_allowed=1 << 20,
            seconds_allowed=86_400,
            created_at=START,
        )

    def seal(self) -> bytes:
        """A record under the next counter."""
        self.counter += 1
        return records.seal_record(self.keys, SESSION, self.counter, self.encoded, up=True, protocol="cjt188")

    def open(self) -> list[Frame]:
        """Steps 1, 3 and 5 to 7 of LINK section 4; EngineError `bench.seal` when the tag does not hold."""
        header = records.parse_header(self.record, up=True)
        if not records.check_tag(self.keys, self.record):
            raise EngineError("bench.seal", "A record that was just sealed has no good tag; report this.")
        frames = records.parse_body(header, self.record, "cjt188")
        records.check_addresses(header, frames, DEVICE)
        return records.open_frames(self.keys, header, frames)

    def say(self) -> pipeline.Accepted:
        """The head-end's whole way: header, tag, counter, frames, addresses, open, say."""
        arrival = pipeline.Arrival(self.record, "bench", b"", DEVICE, START + 10 * 86_400_000)
        header = pipeline.read_header(arrival)
        if isinstance(header, records.Header):
            proved = pipeline.prove(arrival, header, self.session, self.keys, CounterSet())
            if isinstance(proved, pipeline.Proved):
                verdict = pipeline.open_and_say(arrival, proved, self.session, self.keys, {})
                if isinstance(verdict, pipeline.Accepted):
                    return verdict
        raise EngineError("bench.seal", "The head-end's steps refuse a good record; report this.")


class Commanding:
    """A guarded command that closes a valve, from the service's authorisation to the module's judgement."""

    def __init__(self) -> None:
        self.keys = keys()
        self.command_key = SymmetricKey.generate("K_cmnd")
        self.frame = encode.valve_request(DEVICE, opened=False).encode()
        self.number = self.judged = 0
        record, authorised = self.seal(), len(b"ms1 command") + 24 + len(self.frame)
        self.limit = Limit(
            f"SM4-CBC of 16 B, HMAC-SM3 of {len(record)} B and of {authorised} B, all twice",
            (
                (2 * _SLICE, raw.cbc(16)),
                (2 * _SLICE, raw.hmac(len(record))),
                (2 * _SLICE, raw.hmac(authorised)),
            ),
            units=_SLICE,
        )

    def seal(self) -> bytes:
        """The next command: authorised, then sealed."""
        self.number += 1
        authorisation = commands.authorise(self.command_key, DEVICE, self.number, START, self.frame)
        return commands.seal_guarded(
            self.keys,
            SESSION,
            self.number,
            number=self.number,
            not_after=START,
            authorisation=authorisation,
            frame=self.frame,
        )

    def act(self) -> Frame:
        """Authorised, sealed, opened and judged: the frame that the module would carry out."""
        record = self.seal()
        header = records.parse_header(record, up=False)
        if not records.check_tag(self.keys, record):
            raise EngineError("bench.seal", "A command that was just sealed has no good tag; report this.")
        command = commands.open_guarded(self.keys, header, record, DEVICE, "cjt188")
        commands.judge(
            self.command_key,
            DEVICE,
            command,
            last_number=self.judged,
            last_authorisation=b"",
            clock=START - 1,
            bound=0,
        )
        self.judged = command.number
        return command.frame


class Speaking:
    """A control word: an ACK of one range, sealed by the platform and opened by the module."""

    def __init__(self) -> None:
        self.keys = keys()
        self.word = control.acks(range(1, 65))[0]
        self.counter = 0
        self.limit = Limit(
            "SM4-CBC of 16 B and HMAC-SM3 of 52 B, twice",
            ((2 * _SLICE, raw.cbc(16)), (2 * _SLICE, raw.hmac(52))),
            units=_SLICE,
        )

    def act(self) -> control.Word:
        """Sealed and opened."""
        self.counter += 1
        record = control.seal_control(self.keys, SESSION, self.counter, self.word, up=False)
        header = records.parse_header(record, up=False)
        if not records.check_tag(self.keys, record):
            raise EngineError("bench.seal", "A word that was just sealed has no good tag; report this.")
        return control.open_control(self.keys, header, record)


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows."""
    rows = []
    for count in SIZES:
        sealing = Sealing(count)
        what = f"{count} frame{'s' if count > 1 else ''} of {VALUES} registers"
        for name, act in (
            ("seal", sealing.seal),
            ("open", sealing.open),
            ("head-end, header to said", sealing.say),
        ):
            rows.append(_case(f"{name}, {what}", act, sealing.limit))
    commanding, speaking = Commanding(), Speaking()
    rows.append(_case("guarded command, authorised to judged", commanding.act, commanding.limit))
    rows.append(_case("control word ACK, sealed and opened", speaking.act, speaking.limit))
    return rows


def _case(name: str, act: Callable[[], object], limit: Limit) -> Case:
    def work(watch: Watch) -> int:
        with watch:
            for _ in range(_SLICE):
                act()
        return _SLICE

    return Case(name=name, unit=UNIT, work=work, limit=limit)
