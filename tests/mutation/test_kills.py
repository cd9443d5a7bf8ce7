"""Faults that the other tests of link and crypto let through, each shown here."""

from __future__ import annotations

import importlib

import msgspec
import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import (
    hkdf_expand,
    hkdf_extract,
    hmac_sm3,
    sm4_cbc_decrypt_all,
    sm4_cbc_encrypt,
    sm4_ecb,
    unpad80,
)
from meterseal.errors import LocalError, PeerError, TrustError
from meterseal.link import commands, control, messages, proving, records
from meterseal.link.counters import CounterSet
from meterseal.link.handshake import DeviceRun, PlatformRun
from meterseal.link.schedule import TrafficKeys, bound_keys
from meterseal.wire.frame import Frame
from tests.link.parties import DEVICE, NOW, SINCE, Module, Service, refuses
from tests.mutation.fitting import FITTING
from tests.wire import built


@pytest.mark.parametrize("module", FITTING)
def test_what_was_read_cannot_be_changed_afterwards(module: str) -> None:
    """Every struct is frozen, so that nobody changes a header or a session between its check and its use."""
    loaded = importlib.import_module(f"meterseal.{module}")
    own = [
        one for one in vars(loaded).values() if isinstance(one, type) and one.__module__ == loaded.__name__
    ]
    for struct in own:
        if issubclass(struct, msgspec.Struct):
            assert struct.__struct_config__.frozen, struct


def test_a_repeated_device_message_is_answered_for_15_minutes_and_a_first_one_only_within_the_patience() -> (
    None
):
    """A short patience (over IP) ends the wait for DEVICE, not the repeats of SESSION."""
    service, module = Service(), Module()
    run, device = service.run(), module.run()
    short = proving.DIRECT_PATIENCE
    sealed = device.platform(run.begin(device.hello(NOW), NOW), NOW)
    granted = run.finish(sealed, NOW + short, patience=short)
    assert run.finish(sealed, NOW + proving.GATHERED_PATIENCE, patience=short) is granted
    refuses("link.time-out", lambda: run.finish(sealed, NOW + proving.GATHERED_PATIENCE + 1, patience=short))

    late, other = service.run(), module.run()
    sealed = other.platform(late.begin(other.hello(NOW), NOW), NOW)
    refuses("link.time-out", lambda: late.finish(sealed, NOW + short + 1, patience=short))


def test_suite_2_asks_for_no_certificate_and_no_ephemeral_key() -> None:
    """A platform that serves suite 2 alone has no chain to give."""
    service, module = Service(2), Module(2)

    def none(*_: object) -> list[bytes]:
        raise AssertionError("suite 2 has no certificates")

    service.chain = none  # type: ignore[method-assign,assignment]
    service.sign = none  # type: ignore[method-assign,assignment]
    service.enrolments = {key: one for key, one in service.enrolments.items() if key[0] == DEVICE}
    run: PlatformRun = service.run()
    device = module.run()
    granted = run.finish(device.platform(run.begin(device.hello(NOW), NOW), NOW), NOW)
    assert device.session(granted.message, NOW).session_id == granted.session_id


def shaken(bound: int, at: int, later: int = 0, **how: bool):  # type: ignore[no-untyped-def]
    """The session of a handshake whose platform says the time `at`; SESSION arrives `later` ms after DEVICE."""
    run, device = Service().run(), Module().run(bound, **how)
    sealed = device.platform(run.begin(device.hello(NOW), NOW), NOW)
    return device.session(run.finish(sealed, at).message, NOW + later)


def test_session_sets_the_clock_within_ten_seconds_of_device_and_not_later() -> None:
    assert shaken(SINCE, NOW).clock == NOW
    assert shaken(SINCE, NOW, proving.DIRECT_CLOCK).clock == NOW
    assert shaken(SINCE, NOW, proving.DIRECT_CLOCK + 1).clock is None
    assert shaken(SINCE, NOW, proving.DIRECT_CLOCK + 1, behind_concentrator=True).clock == NOW


def test_session_sets_the_clock_to_the_bound_itself_and_never_below() -> None:
    assert shaken(NOW, NOW).clock == NOW
    assert shaken(NOW + 1, NOW).clock is None


def test_the_last_counter_of_all_is_a_counter() -> None:
    last = CounterSet([2**48 - 1])
    assert last.highest == 2**48 - 1
    assert CounterSet.from_bytes(last.to_bytes()) == last


def test_sets_that_begin_alike_or_end_alike_are_not_equal() -> None:
    assert CounterSet([1, 2, 3]) != CounterSet([1, 2])
    assert CounterSet([1, 2, 3]) != CounterSet([2, 3])
    assert CounterSet([1]) != "a set of counters"


def test_the_keys_of_level_7_come_from_their_own_factors() -> None:
    bound = SymmetricKey.from_bytes(bytes(range(16)), "K_b")
    keys = bound_keys(bound)
    for name, factor in {
        "auth": b"AUTH0001",
        "link": b"LINK0001",
        "command": b"CMND0001",
        "evidence": b"EVID0001",
    }.items():
        assert getattr(keys, name).mac(b"x") == bound.diversify(factor, name).mac(b"x"), name


KEYS = TrafficKeys(*(bytes((at,)) * size for at, size in enumerate((16, 32, 16, 16, 32, 16))))
FRAME = built.current_data_answer(DEVICE, built.volume_payload(1, 0, NOW)).encode()


@pytest.mark.parametrize("magic", [b"MS\x01", b"MR\x02", b"mr\x01", bytes(3)])
def test_a_record_begins_with_its_magic_and_version(magic: bytes) -> None:
    record = records.seal_record(KEYS, bytes(8), 1, [FRAME], up=True)
    assert records.parse_header(record).counter == 1
    with pytest.raises(PeerError) as refused:
        records.parse_header(magic + record[3:])
    assert refused.value.code == "link.header"


@pytest.mark.parametrize("off", [-1, 1, 256])
def test_a_record_says_its_own_length(off: int) -> None:
    record = records.seal_record(KEYS, bytes(8), 1, [FRAME], up=True)
    length = int.from_bytes(record[18:20], "big") + off
    with pytest.raises(PeerError) as refused:
        records.parse_header(record[:18] + length.to_bytes(2, "big") + record[20:])
    assert refused.value.code == "link.length"


def test_what_is_too_short_for_a_tag_has_none() -> None:
    for size in range(records.HEADER + records.TAG):
        assert not records.check_tag(KEYS, bytes(size))


def test_a_record_of_the_greatest_size_is_sealed_and_a_greater_one_is_not() -> None:
    most = messages.LONGEST - records.HEADER - records.TAG
    whole = records.finish(KEYS.up, records.WANTED, bytes(8), 1, bytes(most))
    assert len(whole) == messages.LONGEST
    assert records.parse_header(whole).length == most
    with pytest.raises(LocalError) as refused:
        records.finish(KEYS.up, records.WANTED, bytes(8), 1, bytes(most + 1))
    assert refused.value.code == "link.length"


@pytest.mark.parametrize("counter", [0, -1, 2**48])
def test_no_record_is_finished_under_a_counter_that_is_none(counter: int) -> None:
    with pytest.raises(LocalError) as refused:
        records.finish(KEYS.up, records.WANTED, bytes(8), counter, b"body")
    assert refused.value.code == "link.counter"


def test_an_authorisation_is_made_as_link_section_4_says() -> None:
    """HMAC-SM3(K_cmnd, "ms1 command" then device_id, number, not-after, the frame in clear), its first 16 bytes."""
    key = SymmetricKey.from_bytes(bytes(range(16)), "K_cmnd")
    said = b"ms1 command" + DEVICE + (7).to_bytes(8, "big") + NOW.to_bytes(8, "big") + FRAME
    assert commands.authorise(key, DEVICE, 7, NOW, FRAME) == hmac_sm3(bytes(range(16)), said)[:16]


def test_padding_that_is_none_in_a_sealed_part_is_refused() -> None:
    """Only who holds the handshake keys can make one: a tag over cipher whose last block has no padding."""
    way = KEYS.up
    head = messages.sealed_head(messages.DEVICE, bytes(8), 15)
    covered = head + sm4_cbc_encrypt(way.enc, sm4_ecb(way.iv, bytes(16)), bytes(16))
    message = covered + hmac_sm3(way.mac, covered)[: messages.TAG]
    with pytest.raises(TrustError) as refused:
        proving.open_part(way, messages.parse_sealed(message, messages.DEVICE))
    assert refused.value.code == "link.padding"


def test_words_without_content_and_the_classes_of_reject_are_those_of_link() -> None:
    assert (control.ping().kind, control.rekey().kind) == (0, 3)
    assert (control.DOES_NOT_DECODE, control.POLICY, control.UNKNOWN_METER) == (1, 2, 3)


def test_an_ack_has_at_most_32_ranges() -> None:
    spans = [(2 * at + 1).to_bytes(6, "big") + (1).to_bytes(2, "big") for at in range(33)]
    assert len(control.read_ack(bytes((32,)) + b"".join(spans[:32]))) == 32
    with pytest.raises(PeerError):
        control.read_ack(bytes((33,)) + b"".join(spans))
    assert [len(word.content) for word in control.acks(range(1, 67, 2))] == [1 + 8 * 32, 1 + 8]


@pytest.mark.parametrize("size", [0, 6, 8])
def test_a_reject_has_seven_bytes(size: int) -> None:
    with pytest.raises(PeerError):
        control.read_reject(bytes(size))


def test_evidence_names_its_device() -> None:
    read = control.read_evidence(DEVICE + bytes(57) + bytes(64), 1)
    assert (read.device_id, len(read.statement), len(read.signature)) == (DEVICE, 65, 64)


@pytest.mark.parametrize("size", [0, 35, 2049])
def test_a_cert_word_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(PeerError) as refused:
        control.read_cert(b"\x02" * size)
    assert refused.value.code == "link.control"


def test_a_run_waits_as_over_ip_unless_it_is_told_of_a_concentrator() -> None:
    service, module = Service(), Module()
    device = DeviceRun(module.identity, module, bound=SINCE)
    answer = service.run().begin(device.hello(NOW), NOW)
    refuses("link.time-out", lambda: device.platform(answer, NOW + proving.DIRECT_PATIENCE + 1))


def test_a_guarded_command_is_no_longer_than_what_goes_down() -> None:
    def sealed(size: int) -> bytes:
        frame = Frame("cjt188", DEVICE[0], DEVICE[:0:-1], 0x04, bytes(size)).encode()
        return commands.seal_guarded(
            KEYS, bytes(8), 1, number=1, not_after=NOW, authorisation=bytes(16), frame=frame
        )

    assert sealed(47)
    with pytest.raises(LocalError) as refused:
        sealed(48)
    assert refused.value.code == "link.length"


def test_many_texts_are_decrypted_each_with_its_own_iv() -> None:
    key, ivs = bytes(range(16)), bytes(range(48))
    texts = [bytes(16), bytes(range(64)), bytes(range(32))]
    sealed = [sm4_cbc_encrypt(key, ivs[16 * at : 16 * at + 16], text) for at, text in enumerate(texts)]
    assert sm4_cbc_decrypt_all(key, ivs, sealed) == texts
    for wrong in (ivs[:-1], ivs[:32]):
        with pytest.raises(LocalError):
            sm4_cbc_decrypt_all(key, wrong, sealed)


def test_padding_is_at_most_one_block_and_an_expansion_may_have_its_greatest_size() -> None:
    assert unpad80(b"\x80" + bytes(15)) == b""
    for padded in (bytes(16), b"\x80" + bytes(16), b"\x80" + bytes(31), b"a" * 15 + b"\x80" + bytes(16)):
        with pytest.raises(TrustError):
            unpad80(padded)
    longest = hkdf_expand(bytes(32), b"", 255 * 32)
    assert len(longest) == 255 * 32
    assert hkdf_expand(bytes(32), b"", 32) == longest[:32]
    assert hkdf_extract(b"", b"x") == hkdf_extract(bytes(32), b"x") == hmac_sm3(bytes(32), b"x")
