"""Control words, guarded commands and key updates: their tables, their attacks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.crypto.certificates import Certificate, issue_leaf, uri
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import pad80, sm4_cbc_encrypt
from meterseal.errors import LocalError
from meterseal.link import commands, control, records
from meterseal.link.commands import Guarded
from meterseal.link.control import KINDS, Word
from meterseal.link.identities import check_renewed_chain
from meterseal.link.records import CONTROL, DOWN, GUARDED, WANTED
from meterseal.wire import encode
from meterseal.wire.frame import parse_frame
from tests.crypto.pki import UNTIL, Tree
from tests.link.parties import (
    DEVICE,
    MODULE,
    NOW,
    OTHER_DEVICE,
    OTHER_MODULE,
    SINCE,
    code_of,
    refuses,
    tree,
)
from tests.link.test_records import KEYS, METER_645, SESSION, sealed

COMMAND_KEY = SymmetricKey.from_bytes(b"k" * 16, "K_cmnd")
VALVE = bytes.fromhex("681044332211003378040417a007992c16")
counter_sets = st.sets(st.integers(1, 2**48 - 1), max_size=200) | st.sets(st.integers(1, 120), max_size=100)


@given(counter_sets, st.integers(1, 32))
def test_acks_name_exactly_the_counters(counters: set[int], most: int) -> None:
    words = control.acks(counters, most)
    named = [range_ for word in words for range_ in control.read_ack(word.content)]
    assert {counter for range_ in named for counter in range_} == counters
    assert sum(len(range_) for range_ in named) == len(counters)
    assert all(1 <= word.content[0] <= most for word in words)
    assert bool(words) == bool(counters)


def test_a_long_run_is_one_range_of_at_most_65535() -> None:
    (word,) = control.acks(range(1, 70_001))
    assert control.read_ack(word.content) == [range(1, 65_536), range(65_536, 70_001)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\x01",
        b"\x21" + bytes(8 * 33),
        b"\x01" + bytes(8),
        b"\x01" + bytes(5) + b"\x01" + bytes(2),
        b"\x01" + bytes(6) + b"\x00\x01",
        b"\x01" + b"\xff" * 6 + b"\x00\x02",
        b"\x02" + bytes(5) + b"\x01\x00\x01",
    ],
)
def test_an_ack_of_no_counters_is_refused(content: bytes) -> None:
    refuses("link.control", lambda: control.read_ack(content))


def test_counters_that_do_not_exist_are_not_acknowledged() -> None:
    for counter in (0, -1, 2**48):
        with pytest.raises(LocalError):
            control.acks([counter])


def spoken(kind: int, content: bytes, flags: int) -> bytes:
    """A control record with any kind, content and flags under good keys."""
    way = KEYS.down if flags & DOWN else KEYS.up
    body = sm4_cbc_encrypt(way.enc, records.frame_ivs(way.iv, 1, 1), pad80(bytes((kind,)) + content))
    return sealed(body, flags)


def heard(record: bytes) -> Word:
    header = records.parse_header(record)
    assert records.check_tag(KEYS, record)
    return control.open_control(KEYS, header, record)


WAYS = {
    0: "both",
    1: "down",
    2: "down",
    3: "both",
    4: "both",
    5: "down",
    6: "down",
    7: "up",
    8: "down",
    9: "both",
}
SIZES = {
    0: [0],
    1: [9, 33, 97, 129, 257],
    2: [14],
    3: [0],
    4: [1],
    5: [7],
    6: [36],
    7: [97, 129],
    8: [36, 97, 129, 257, 265, 2048],
    9: [33, 35, 36, 97, 129, 257, 265, 2048, 2049, 3072],
}
"""The table of kinds of LINK section 4, and those that ADRs added."""


@pytest.mark.parametrize("kind", range(11))
def test_words_go_their_ways_in_their_sizes(kind: int) -> None:
    for up in (True, False):
        for size in (0, 1, 7, 9, 14, 32, 33, 35, 36, 97, 129, 257, 265, 2048, 2049, 3072, 3073):
            flags = CONTROL | (0 if up else DOWN) | (WANTED if up and kind == 7 else 0)
            record = spoken(kind, bytes(size), flags)
            allowed = kind in WAYS and WAYS[kind] in ("both", "up" if up else "down") and size in SIZES[kind]
            if allowed:
                assert heard(record) == Word(kind, bytes(size))
                assert control.seal_control(KEYS, SESSION, 1, Word(kind, bytes(size)), up=up) == record
                continue
            refuses("link.control", lambda record=record: heard(record))
            with pytest.raises(LocalError):
                control.seal_control(KEYS, SESSION, 1, Word(kind, bytes(size)), up=up)


def test_the_acknowledgement_bit_goes_with_the_kind() -> None:
    for kind, size in ((0, 0), (3, 0), (4, 1)):
        refuses("link.flags", lambda kind=kind, size=size: heard(spoken(kind, bytes(size), CONTROL | WANTED)))
    refuses("link.flags", lambda: heard(spoken(7, bytes(129), CONTROL)))
    assert [kind for kind, row in KINDS.items() if row.kept] == [control.EVIDENCE]


def test_control_of_no_whole_cipher_or_bad_padding_is_refused() -> None:
    refuses("link.length", lambda: heard(sealed(b"", CONTROL)))
    refuses("link.length", lambda: heard(sealed(bytes(15), CONTROL)))
    refuses("link.padding", lambda: heard(sealed(bytes(16), CONTROL)))
    way = KEYS.up
    empty = sm4_cbc_encrypt(way.enc, records.frame_ivs(way.iv, 1, 1), pad80(b""))
    refuses("link.control", lambda: heard(sealed(empty, CONTROL)))
    frames = records.parse_header(sealed(VALVE))
    refuses("link.control", lambda: control.open_control(KEYS, frames, sealed(VALVE)))


def test_time_reject_and_close_read_back() -> None:
    for counter in (77, 2**48 - 1):
        assert control.read_time(control.time(1_780_000_000_000, counter).content) == (
            1_780_000_000_000,
            counter,
        )
    assert control.read_reject(control.reject(2**48 - 1, control.POLICY).content) == (2**48 - 1, 2)
    assert control.close(3) == Word(control.CLOSE, b"\x03")
    refuses("link.control", lambda: control.read_time(bytes(13)))
    refuses("link.control", lambda: control.read_evidence(bytes(129), 2))
    refuses("link.control", lambda: control.read_evidence(bytes(97), 1))


# --- KEY --------------------------------------------------------------------------------------------------


UPDATE = SymmetricKey.from_bytes(b"u" * 16, "K_updt")
BOUND = SymmetricKey.from_bytes(b"b" * 16, "K_b")


def test_a_key_update_is_for_one_module_and_only_rises() -> None:
    content = control.key(UPDATE, DEVICE, MODULE, 7, BOUND).content
    version, bound = control.read_key(UPDATE, DEVICE, MODULE, 6, content)
    assert (version, expose(bound)) == (7, expose(BOUND))
    assert expose(BOUND) not in content
    for installed in (7, 8, 255):
        refuses("link.key-version", lambda n=installed: control.read_key(UPDATE, DEVICE, MODULE, n, content))
    refuses("link.key-mac", lambda: control.read_key(UPDATE, OTHER_DEVICE, MODULE, 1, content))
    refuses("link.key-mac", lambda: control.read_key(UPDATE, DEVICE, OTHER_MODULE, 1, content))
    refuses("link.key-mac", lambda: control.read_key(BOUND, DEVICE, MODULE, 1, content))
    refuses("link.control", lambda: control.read_key(UPDATE, DEVICE, MODULE, 1, content[:-1]))
    for at in range(len(content)):
        altered = content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]
        refuses("link.key-mac", lambda altered=altered: control.read_key(UPDATE, DEVICE, MODULE, 1, altered))


def test_a_key_that_does_not_fit_its_check_value_is_refused() -> None:
    content = control.key(UPDATE, DEVICE, MODULE, 7, BOUND).content
    fields = content[:17] + bytes(3)
    wrong = fields + UPDATE.mac(DEVICE, MODULE, fields)[:16]
    refuses("link.key-check", lambda: control.read_key(UPDATE, DEVICE, MODULE, 1, wrong))


# --- guarded commands -------------------------------------------------------------------------------------


def command(
    number: int = 5, not_after: int = 1000, frame: bytes = VALVE, device_id: bytes = DEVICE
) -> Guarded:
    mac = commands.authorise(COMMAND_KEY, device_id, number, not_after, frame)
    return Guarded(number, not_after, mac, parse_frame(frame)[0])


def judged(
    given: Guarded,
    *,
    last: int = 4,
    last_mac: bytes = b"",
    clock: int = 10,
    bound: int = 0,
    device: bytes = DEVICE,
) -> str:
    return commands.judge(
        COMMAND_KEY, device, given, last_number=last, last_authorisation=last_mac, clock=clock, bound=bound
    )


def test_a_guarded_command_travels_and_comes_back_in_clear() -> None:
    for frame, device_id, number, until in (
        (VALVE, DEVICE, 9, 99),
        (encode.read_request(METER_645, 0x00010000).encode(), METER_645, 2**64 - 2, 2**64 - 1),
    ):
        mac = commands.authorise(COMMAND_KEY, device_id, number, until, frame)
        record = commands.seal_guarded(
            KEYS, SESSION, 3, number=number, not_after=until, authorisation=mac, frame=frame
        )
        header = records.parse_header(record, up=False)
        assert records.check_tag(KEYS, record)
        opened = commands.open_guarded(KEYS, header, record, device_id)
        assert opened == Guarded(number, until, mac, parse_frame(frame)[0])
        assert opened.frame.encode() == frame
        refuses("link.address", lambda h=header, r=record: commands.open_guarded(KEYS, h, r, OTHER_DEVICE))


def test_a_head_end_with_the_sessions_keys_commands_nothing() -> None:
    """It has the traffic keys and an authorisation of another command; no change of it is authorised."""
    good = command()
    assert judged(good) == "act"
    others = [
        Guarded(6, good.not_after, good.authorisation, good.frame),
        Guarded(good.number, good.not_after + 1, good.authorisation, good.frame),
        Guarded(good.number, good.not_after, bytes(16), good.frame),
        Guarded(good.number, good.not_after, good.authorisation, good.frame.with_data(b"\x17\xa0\x07\x55")),
    ]
    for other in others:
        refuses("link.authorisation", lambda other=other: judged(other))
    refuses("link.authorisation", lambda: judged(good, device=OTHER_DEVICE))


def test_a_command_is_not_replayed_and_not_late() -> None:
    good = command()
    refuses("link.command-number", lambda: judged(good, last=5, last_mac=bytes(16)))
    refuses("link.command-number", lambda: judged(good, last=6))
    assert judged(good, last=5, last_mac=good.authorisation, clock=10**12) == "repeat"
    assert judged(good, clock=999) == "act"
    refuses("link.command-late", lambda: judged(good, clock=1000))
    refuses("link.command-late", lambda: judged(good, clock=0, bound=1000))


def test_a_guarded_record_carries_exactly_one_frame() -> None:
    lead = bytes(32)
    for body, code in ((lead, "link.length"), (lead[:-1], "link.length"), (lead + b"x", "wire.no-frame")):
        record = sealed(body, GUARDED | DOWN)
        header = records.parse_header(record)
        refuses(code, lambda h=header, r=record: commands.open_guarded(KEYS, h, r, DEVICE))
    encrypted = records.encrypt_frames(KEYS.down, 1, [parse_frame(VALVE)[0]], up=False)
    record = sealed(lead + encrypted + encrypted, GUARDED | DOWN)
    refuses("link.length", lambda: commands.open_guarded(KEYS, records.parse_header(record), record, DEVICE))
    plain = sealed(VALVE)
    refuses("link.control", lambda: commands.open_guarded(KEYS, records.parse_header(plain), plain, DEVICE))


def test_only_read_codes_are_reads() -> None:
    reads = {0x01, 0x03, 0x09}
    for code in range(256):
        assert commands.is_read(parse_frame(VALVE)[0].with_data(b"")) is False
        frame = parse_frame(encode.read_request(DEVICE, 0x901F).encode())[0]
        frame = type(frame)(frame.protocol, frame.meter_type, frame.address, code, frame.data)
        assert commands.is_read(frame) == (code in reads)
        other = parse_frame(encode.read_request(METER_645, 0x00010000).encode())[0]
        other = type(other)(other.protocol, 0, other.address, code, other.data)
        assert commands.is_read(other) == (code in {0x11, 0x12, 0x13})


# --- CERT ------------------------------------------------------------------------------------------------


def renewed(**change: object) -> tuple[bytes, bytes]:
    """A chain for the module, longer than its own unless changed."""
    facts: dict[str, object] = {
        "point": tree().device_key.public_point,
        "name": "device",
        "purpose": "device",
        "uris": [uri("device", DEVICE), uri("module", MODULE)],
        "since": SINCE,
        "until": UNTIL - 1000,
    }
    return issue_leaf(tree().device_ca, tree().device_ca_key, **{**facts, **change}), tree().device_ca


def judged_chain(chain: Sequence[bytes], until: int = NOW, bound: int = NOW) -> Certificate:
    return check_renewed_chain(
        chain,
        root=tree().root,
        device_id=DEVICE,
        module_id=MODULE,
        point=tree().device_key.public_point,
        until=until,
        bound=bound,
    )


def test_a_renewed_chain_travels_in_a_word_and_is_taken() -> None:
    chain = renewed()
    record = control.seal_control(KEYS, SESSION, 4, control.cert(chain), up=False)
    word = control.open_control(KEYS, records.parse_header(record, up=False), record)
    assert control.read_cert(word.content) == chain
    assert judged_chain(chain).until == UNTIL - 1000 + 999


def test_a_chain_that_is_not_the_modules_renewal_is_refused() -> None:
    other_key = Sm2PrivateKey.generate("another module's key").public_point
    names = [uri("device", OTHER_DEVICE), uri("module", MODULE)]
    refuses("link.identity", lambda: judged_chain(renewed(uris=names)))
    names = [uri("device", DEVICE), uri("module", OTHER_MODULE)]
    refuses("link.identity", lambda: judged_chain(renewed(uris=names)))
    refuses("link.point", lambda: judged_chain(renewed(point=other_key)))
    refuses("link.renewal", lambda: judged_chain(renewed(), until=UNTIL - 1000 + 999))
    refuses("link.renewal", lambda: judged_chain(renewed(until=NOW + 500_000), until=NOW + 600_000))
    refuses("link.chain", lambda: judged_chain(renewed(), bound=UNTIL + 1))
    refuses("link.chain", lambda: judged_chain(tuple(Tree().device_chain)))
    refuses("link.chain", lambda: judged_chain(tuple(tree().platform_chain)))
    refuses("link.chain", lambda: judged_chain(renewed()[::-1]))


def test_a_chain_that_fits_no_word_is_not_sent() -> None:
    leaf, authority = renewed()
    for chain in ((leaf,), (leaf, authority, authority), (leaf, bytes(2048)), (b"", b"")):
        with pytest.raises(LocalError):
            control.cert(chain)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_changed_bit_and_every_cut_of_a_chain_in_good_keys_is_refused() -> None:
    """What a head-end with the session's keys may try: the chain proves itself."""
    content = control.cert(renewed()).content

    def take(one: bytes) -> Certificate:
        return judged_chain(control.read_cert(one))

    take(content)
    for at in range(len(content)):
        for bit in range(8):
            changed = content[:at] + bytes((content[at] ^ 1 << bit,)) + content[at + 1 :]
            code_of(lambda changed=changed: take(changed))
        code_of(lambda at=at: take(content[:at]))
    code_of(lambda: take(content + b"\0"))
    code_of(lambda: take(content + content))
