"""One changed bit, one missing byte, one too many, in any message or record: refused without effect.

Proves X 9.1.b and X 10.1.e.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meterseal.errors import PeerError, TrustError
from meterseal.link import commands, control, firmware, messages, records
from meterseal.link.control import Word
from tests.link.vectors import SENT, SUITES, PlayedPlatform, Run, device_run, platform_run

both = pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")


def flips(message: bytes) -> Iterator[bytes]:
    """Every message that differs in one bit."""
    for at in range(len(message)):
        for bit in range(8):
            yield message[:at] + bytes((message[at] ^ 1 << bit,)) + message[at + 1 :]


def cuts(message: bytes) -> Iterator[bytes]:
    """Every beginning, and the message with more behind it."""
    for at in range(len(message)):
        yield message[:at]
    yield message + b"\0"
    yield message + message


def all_refused(take: Callable[[bytes], object], changed: Iterator[bytes]) -> int:
    count = 0
    for one in changed:
        with pytest.raises((PeerError, TrustError)):
            take(one)
        count += 1
    return count


@both
def test_every_changed_bit_of_hello_is_refused(run: Run) -> None:
    ports = PlayedPlatform(run)
    platform = platform_run(run, ports)
    assert all_refused(lambda one: platform.begin(one, SENT), flips(run.hello)) == 8 * len(run.hello)
    all_refused(lambda one: platform.begin(one, SENT), cuts(run.hello))
    assert (platform.phase, platform.hello) == ("new", None)
    assert platform.begin(run.hello, SENT) == run.platform, "a nonce was drawn for a HELLO that was refused"


@both
def test_every_changed_bit_of_platform_is_refused(run: Run) -> None:
    device = device_run(run)
    device.hello(SENT)
    assert all_refused(lambda one: device.platform(one, SENT), flips(run.platform)) == 8 * len(run.platform)
    all_refused(lambda one: device.platform(one, SENT), cuts(run.platform))
    assert (device.phase, device.bound) == ("greeted", 0)
    assert device.platform(run.platform, SENT) == run.device


@both
def test_every_changed_bit_of_device_is_refused(run: Run) -> None:
    platform = platform_run(run)
    platform.begin(run.hello, SENT)
    assert all_refused(lambda one: platform.finish(one, SENT), flips(run.device)) == 8 * len(run.device)
    all_refused(lambda one: platform.finish(one, SENT), cuts(run.device))
    assert platform.phase == "greeted"
    assert platform.finish(run.device, SENT).message == run.session
    assert all_refused(lambda one: platform.finish(one, SENT), flips(run.device)) == 8 * len(run.device)


@both
def test_every_changed_bit_of_session_is_refused(run: Run) -> None:
    device = device_run(run)
    device.hello(SENT)
    device.platform(run.platform, SENT)
    assert all_refused(lambda one: device.session(one, SENT), flips(run.session)) == 8 * len(run.session)
    all_refused(lambda one: device.session(one, SENT), cuts(run.session))
    assert device.phase == "answered"
    assert device.session(run.session, SENT).keys == run.traffic


@both
def test_a_changed_retry_is_refused_or_repeats_the_same_hello(run: Run) -> None:
    device = device_run(run)
    device.hello(SENT)
    retry = messages.retry(b"sixteen byte cok")
    for one in flips(retry):
        try:
            hello = device.retry(one)
        except PeerError:
            continue
        assert messages.parse_hello(hello).canonical() == run.hello
    all_refused(device.retry, cuts(retry))


@both
def test_a_changed_hello_with_a_cookie_is_refused_or_the_same_but_for_its_cookie(run: Run) -> None:
    """The cookie proves a return path and is in no transcript; whoever asked for one compares it."""
    hello = messages.parse_hello(run.hello)
    source, secret = b"192.0.2.1", b"a rotating secret"
    cookie = messages.cookie_for(secret, source, hello)
    device = device_run(run)
    device.hello(SENT)
    repeated = device.retry(messages.retry(cookie))
    platform = platform_run(run)
    assert platform.begin(repeated, SENT) == run.platform
    at = len(repeated) - messages.COOKIE
    for place, one in enumerate(flips(repeated)):
        if place // 8 < at:
            with pytest.raises((PeerError, TrustError)):
                platform.begin(one, SENT)
        else:
            assert platform.begin(one, SENT) == run.platform
            assert not messages.cookie_holds([secret], source, messages.parse_hello(one))
    all_refused(lambda one: platform.begin(one, SENT), cuts(repeated))


def accept(run: Run, record: bytes, up: bool) -> object:
    """What the receiver of a record does, all of it."""
    header = records.parse_header(record, up=up)
    if header.session_id != run.session_id or not records.check_tag(run.traffic, record):
        raise TrustError("link.tag", "no")
    if header.control:
        return control.open_control(run.traffic, header, record)
    if header.guarded:
        return commands.open_guarded(run.traffic, header, record, run.device_id)
    frames = records.parse_body(header, record)
    records.check_addresses(header, frames, run.device_id)
    return records.open_frames(run.traffic, header, frames)


def kinds(run: Run) -> dict[str, tuple[bytes, bool]]:
    """A record of each kind, and whether it goes up."""
    found = {vector["what"]: bytes.fromhex(vector["record"]) for vector in run.records}
    frame = bytes.fromhex(run.records[0]["frames"][0])
    seal: dict[str, Any] = {"session_id": run.session_id, "counter": 9, "frames": [frame]}
    made = {
        "vouched": records.seal_record(run.traffic, **seal, up=True, vouched=True),
        "plain": records.seal_record(run.traffic, **seal, up=True, plain=True),
        "down": records.seal_record(run.traffic, run.session_id, 9, [_read(run)], up=False),
        "plain down": records.seal_record(run.traffic, run.session_id, 9, [_read(run)], up=False, plain=True),
        "vouched and plain": records.seal_record(run.traffic, **seal, up=True, vouched=True, plain=True),
    }
    words = {
        "PING": (control.ping(), True),
        "PING down": (control.ping(), False),
        "REKEY": (control.rekey(), False),
        "REKEY up": (control.rekey(), True),
        "CLOSE": (control.close(1), True),
        "CLOSE down": (control.close(255), False),
        "TIME": (control.time(SENT, 4), False),
        "REJECT": (control.reject(4, 2), False),
        "FIRMWARE": (firmware.seen(bytes(32), 4), False),
        "FIRMWARE up": (Word(control.FIRMWARE, bytes(100)), True),
        "CERT": (control.cert(SUITES[0].chain("device_chain")), False),
    }
    result = {name: (record, not record[3] & records.DOWN) for name, record in (found | made).items()}
    for name, (word, up) in words.items():
        result[name] = (control.seal_control(run.traffic, run.session_id, 9, word, up=up), up)
    return result


def _read(run: Run) -> bytes:
    from meterseal.wire import encode

    return encode.read_request(run.device_id, 0x901F).encode()


KINDS = sorted(kinds(SUITES[0]))


@both
@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_bit_of_a_record_is_refused(run: Run, kind: str) -> None:
    record, up = kinds(run)[kind]
    accept(run, record, up)
    assert all_refused(lambda one: accept(run, one, up), flips(record)) == 8 * len(record)
    all_refused(lambda one: accept(run, one, up), cuts(record))


def test_a_record_of_every_kind_of_control_is_among_them() -> None:
    names = {one.rstrip(",") for kind in KINDS for one in kind.split()}
    assert {kind.name for kind in control.KINDS.values()} <= names
