"""Any bytes, also with a right frame around them, end in a PeerError or TrustError and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.errors import PeerError, TrustError
from meterseal.link import commands, control, evidence, messages, proving, records, schedule, transport
from tests.link.parties import DEVICE
from tests.link.test_records import KEYS, sealed
from tests.link.vectors import SENT, SUITES, device_run, platform_run

noise = st.binary(max_size=300)


def tolerates(act: Callable[[], object]) -> None:
    try:
        act()
    except (PeerError, TrustError) as error:
        assert error.code.split(".")[0] in ("link", "wire")  # noqa: PT017 - both outcomes are legal


@settings(max_examples=300)
@given(noise, st.integers(0, 6), st.booleans())
def test_any_bytes_as_a_handshake_message(body: bytes, kind: int, framed: bool) -> None:
    message = b"MS\x01" + bytes((kind,)) + len(body).to_bytes(2, "big") + body if framed else body
    parsers: tuple[Callable[[bytes], object], ...] = (
        *(messages.kind_of, messages.device_id_of, messages.session_id_of, messages.parse_hello),
        *(messages.parse_platform, messages.parse_retry, transport.kind_of, transport.unpack_envelope),
        lambda one: messages.parse_sealed(one, messages.DEVICE),
        lambda one: messages.parse_sealed(one, messages.SESSION),
    )
    for parse in parsers:
        tolerates(lambda parse=parse: parse(message))


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([1, 2]))
def test_any_bytes_inside_a_well_sealed_part(payload: bytes, suite: int) -> None:
    """A device with the handshake keys sends what it likes in DEVICE; a platform in SESSION."""
    run = SUITES[suite - 1]
    platform, device = platform_run(run), device_run(run)
    platform.begin(run.hello, SENT)
    device.hello(SENT)
    device.platform(run.platform, SENT)
    assert platform._transcript is not None
    keys = schedule.handshake_keys(run.hs, run.th1)
    up = proving.seal_part(keys.up, messages.DEVICE, run.session_id, payload)
    tolerates(lambda: platform.finish(up, SENT))
    assert platform.phase == "greeted"
    down = proving.seal_part(keys.down, messages.SESSION, run.session_id, payload)
    tolerates(lambda: device.session(down, SENT))
    assert (device.phase == "open") == (len(payload) == 49 and payload[-1] <= 2)


@settings(max_examples=400)
@given(noise, st.integers(0, 255), st.integers(0, 2**48 - 1), st.booleans())
def test_any_bytes_as_a_record(body: bytes, flags: int, counter: int, tagged: bool) -> None:
    record = sealed(body, flags, counter) if tagged else body

    def take() -> object:
        header = records.parse_header(record)
        if not records.check_tag(KEYS, record):
            return None
        if header.control:
            return control.open_control(KEYS, header, record)
        if header.guarded:
            return commands.open_guarded(KEYS, header, record, DEVICE)
        frames = records.parse_body(header, record)
        records.check_addresses(header, frames, DEVICE)
        return records.open_frames(KEYS, header, frames)

    tolerates(take)


@given(noise)
def test_any_bytes_as_control_content(content: bytes) -> None:
    for read in (
        *(control.read_ack, control.read_time, control.read_reject, control.read_cert),
        *(evidence.unpack, messages.parse_chain),
    ):
        tolerates(lambda read=read: read(content))
    for suite in (1, 2):
        tolerates(lambda suite=suite: control.read_evidence(content, suite))
