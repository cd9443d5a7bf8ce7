"""Beside the path: what a listener with a key of his own understands of link messages that pass in segments.

It takes part in nothing and asks nobody. A module of suite 2 is opened with its bound key, from HELLO on; a session of
suite 1 only with its traffic keys, which no listener computes. Keys come from a file or the environment, and are shown
nowhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, MetersealError, PeerError
from meterseal.link import control, messages, proving, records, schedule
from meterseal.link.messages import Hello, Platform
from meterseal.link.proving import Transcript
from meterseal.link.schedule import TrafficKeys
from meterseal.link.segments import SegmentReceiver
from meterseal.wire.decode import decode_bytes
from meterseal.wire.frame import Frame
from meterseal.wire.tree import tree

VARIABLE = "METERSEAL_LINE_KEYS"
"""Names a file of keys, where --keys does not."""
LONGEST_FILE = 1 << 20
MOST_RUNS = 256
_SIZES = (16, 32, 16, 16, 32, 16)
_LEADS = {"cjt188": b"\x02\xe0", "dlt645": b"\x00\x00\x02\xe0"}
_GUARDS = {"cjt188": 0, "dlt645": 8}


class Keys:
    """Keys by device and by session, from lines `bound DEVICE_ID KEY` and `session SESSION_ID KEYS`, all in hex."""

    def __init__(self) -> None:
        self.bound: dict[bytes, SymmetricKey] = {}
        self.sessions: dict[bytes, TrafficKeys] = {}

    def __len__(self) -> int:
        return len(self.bound) + len(self.sessions)

    @classmethod
    def read(cls, path: Path | None) -> Keys:
        """From this file, or the one that the environment names; LocalError `line.keys` with the number of a wrong line."""
        named = str(path) if path is not None else os.environ.get(VARIABLE, "")
        keys = cls()
        if not named:
            return keys
        try:
            with Path(named).open("rb") as file:
                lines = file.read(LONGEST_FILE).decode("ascii", "replace").splitlines()
        except OSError as error:
            raise LocalError("line.keys", f"{named} cannot be read ({error.strerror}).") from None
        for number, line in enumerate(lines, start=1):
            words = line.split("#")[0].split()
            if words and not keys._take(words):
                raise LocalError(
                    "line.keys",
                    f"{named}, line {number}, is no key: give `bound DEVICE_ID KEY` (8 and 16 bytes in hex) or "
                    "`session SESSION_ID KEYS` (8 and 128 bytes).",
                )
        return keys

    def _take(self, words: list[str]) -> bool:
        try:
            kind, name, key = words[0], bytes.fromhex(words[1]), bytes.fromhex(words[2])
        except (ValueError, IndexError):
            return False
        if len(words) != 3 or len(name) != 8:
            return False
        if kind == "bound" and len(key) == 16:
            self.bound[name] = SymmetricKey.from_bytes(key, f"K_b of {name.hex()}")
            return True
        if kind == "session" and len(key) == sum(_SIZES):
            parts = [key[sum(_SIZES[:at]) : sum(_SIZES[: at + 1])] for at in range(len(_SIZES))]
            self.sessions[name] = TrafficKeys(*parts)
            return True
        return False


class _Run:
    """One handshake as it passed."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.platform: Platform | None = None
        self.device = b""
        self.secret = b""
        self.transcript: Transcript | None = None


class Overhearer:
    """Follows every device on a line; `hear` says what a frame completed, in sentences."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._receivers: dict[tuple[bytes, bool], SegmentReceiver] = {}
        self._runs: dict[bytes, _Run] = {}
        self._opened: dict[bytes, TrafficKeys] = dict(keys.sessions)

    def hear(self, frame: Frame) -> str:
        """What the link message says that this frame completes; empty while none is complete."""
        lead, up = _LEADS[frame.protocol], bool(frame.control & 0x80)
        if not frame.data.startswith(lead):
            return ""
        head = len(lead) + (1 if frame.protocol == "cjt188" else 0)
        if not up:
            head += _GUARDS[frame.protocol]
        payload = frame.data[head:]
        if len(payload) <= 4:
            return ""
        if len(self._receivers) > 4 * MOST_RUNS:
            self._receivers.clear()
        receiver = self._receivers.setdefault((frame.device_id, up), SegmentReceiver())
        try:
            message = receiver.feed(payload)
        except PeerError as error:
            return f"segment refused: {error.message}"
        return "" if message is None else self.message(frame.device_id, message)

    def message(self, device_id: bytes, message: bytes) -> str:
        """What a whole link message says."""
        try:
            if message[:3] == messages.MAGIC:
                return self._handshake(device_id, message)
            return self._record(message)
        except MetersealError as error:
            return f"{len(message)} bytes that are no link message ({error.code}): {error.message}"

    def _handshake(self, device_id: bytes, message: bytes) -> str:
        kind = messages.kind_of(message)
        name = messages.KINDS[kind]
        if kind == messages.HELLO:
            hello = messages.parse_hello(message)
            if len(self._runs) > MOST_RUNS:
                self._runs.clear()
            self._runs[device_id] = _Run(hello)
            cookie = f", cookie of {len(hello.cookie)} bytes" if hello.cookie else ""
            return (
                f"{name}: suite {hello.suite}, device {hello.device_id.hex()}, module {hello.module_id.hex()}, "
                f"key version {hello.key_version}{cookie}"
            )
        run = self._runs.get(device_id)
        if kind == messages.PLATFORM:
            platform = messages.parse_platform(message)
            said = f"{name}: suite {platform.suite}, session {platform.session_id.hex()}"
            return said + ("" if run is None else self._follow(run, platform))
        if kind == messages.RETRY:
            return f"{name}: a cookie of {len(messages.parse_retry(message))} bytes"
        session_id = messages.session_id_of(message)
        if run is None or run.platform is None or run.platform.session_id != session_id:
            return f"{name}: session {session_id.hex()}, sealed"
        if kind == messages.DEVICE:
            run.device = message
            return f"{name}: session {session_id.hex()}, sealed"
        return f"{name}: session {session_id.hex()}" + self._granted(run, message)

    def _follow(self, run: _Run, platform: Platform) -> str:
        bound = self._keys.bound.get(run.hello.device_id)
        run.platform = platform
        if bound is None:
            return ""
        if platform.suite != 2:
            return "; suite 1 agrees on a secret that no listener has"
        link = schedule.bound_keys(bound).link
        exchange = schedule.exchange_secret(link, run.hello.nonce, platform.nonce)
        secret = schedule.handshake_secret(exchange, schedule.NO_AGREEMENT)
        transcript = Transcript(
            run.hello.canonical(), platform.message, platform.chain_at, platform.signature_at
        )
        fin = schedule.finished(secret, b"p", transcript.th1, transcript.th2, platform.signature)
        if not equal(fin, platform.fin):
            return "; fin_p does not hold under the key given: another key, or bytes changed on the way"
        run.secret, run.transcript = secret, transcript
        return "; fin_p holds"

    def _granted(self, run: _Run, message: bytes) -> str:
        if not run.secret or run.transcript is None:
            return ", sealed"
        sealed = messages.parse_sealed(message, messages.SESSION)
        keys = schedule.handshake_keys(run.secret, run.transcript.th1)
        grant = messages.parse_grant(proving.open_part(keys.down, sealed))
        if run.device:
            th4 = run.transcript.th4(run.device)
            self._opened[sealed.session_id] = schedule.traffic_keys(run.secret, grant.seed, th4)
        return (
            f": {grant.records_allowed} records, {grant.seconds_allowed} s, policy {grant.policy}; "
            "its records open from now on"
        )

    def _record(self, record: bytes) -> str:
        header = records.parse_header(record)
        way = "up" if header.up else "down"
        marks = [
            name for name in ("wanted", "vouched", "control", "plain", "guarded") if getattr(header, name)
        ]
        said = f"record {way}: session {header.session_id.hex()}, counter {header.counter}, {', '.join(marks) or 'sealed'}"
        keys = self._opened.get(header.session_id)
        if keys is None:
            return said
        if not records.check_tag(keys, record):
            return said + "; its tag does not hold under the keys of this session"
        if header.control:
            word = control.open_control(keys, header, record)
            return f"{said}; tag holds; control {control.KINDS[word.kind].name}, {len(word.content)} bytes"
        if header.guarded:
            return f"{said}; tag holds; a guarded command"
        frames = records.open_frames(keys, header, records.parse_body(header, record))
        opened = "\n".join(tree(decode_bytes(frame.encode())) for frame in frames)
        return f"{said}; tag holds\n{opened}"
