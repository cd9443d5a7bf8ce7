"""Faults at the edges of the link's smaller parts that the other tests let through, each shown here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import hmac_sm3, sm4_cbc_encrypt, sm4_ecb
from meterseal.errors import LocalError
from meterseal.link import cardkeys, identities, messages, profiles, records, transport
from meterseal.link.messages import LONGEST
from meterseal.link.schedule import TrafficKeys
from meterseal.link.segments import SegmentReceiver
from meterseal.wire.frame import Frame
from tests.crypto.pki import DAY
from tests.link.parties import DEVICE, MODULE, SINCE, refuses, split, tree
from tests.link.vectors import SUITES, Run

# --- identities ---------------------------------------------------------------------------------------------


def test_a_concentrators_id_begins_with_the_byte_of_link_section_1_and_no_others_does() -> None:
    said = ["f0", "f000000000000001", "", "f100000000000001", "00f0000000000001", "1078330011223344"]
    assert [identities.is_concentrator(bytes.fromhex(one)) for one in said] == [True, True, *[False] * 4]


def test_a_renewed_chain_that_begins_after_the_bound_of_time_is_taken() -> None:
    """The bound runs behind the clock: only the end of a chain is compared with it."""
    leaf = identities.check_renewed_chain(
        tree().device_chain, root=tree().root, device_id=DEVICE, module_id=MODULE,
        point=tree().device_key.public_point, until=SINCE, bound=SINCE - DAY,
    )  # fmt: skip
    assert leaf.since > SINCE - DAY


# --- streams and envelopes ----------------------------------------------------------------------------------


def test_the_sizes_of_streams_and_envelopes_are_those_of_link_section_5() -> None:
    assert transport.pack_envelope(DEVICE, b"x") == b"MT\x01" + DEVICE + b"x"
    assert transport.LONGEST_MESSAGE == 4096 + 11
    longest = transport.pack_envelope(DEVICE, bytes(LONGEST))
    assert transport.unpack_envelope(longest) == (DEVICE, bytes(LONGEST))


def test_a_reader_takes_a_mebibyte_at_once_and_not_a_byte_more() -> None:
    one = transport.frame_message(bytes(1022))
    whole = one * 1024
    assert len(whole) == 2**20
    assert transport.MessageReader().feed(whole) == [bytes(1022)] * 1024
    refuses("link.stream", lambda: transport.MessageReader().feed(whole + b"\0"))


# --- segments -----------------------------------------------------------------------------------------------


def test_the_longest_message_travels_in_segments() -> None:
    message = bytes(range(256)) * 16
    receiver = SegmentReceiver()
    *parts, last = split(message, 80)
    assert [receiver.feed(one) for one in parts] == [None] * 51
    assert receiver.feed(last) == message


def test_a_segment_may_carry_a_single_byte() -> None:
    receiver = SegmentReceiver()
    assert [receiver.feed(one) for one in (b"\0\3\0\0a", b"\0\3\0\1b", b"\0\3\0\2c")] == [None, None, b"abc"]


def test_offset_0_in_the_middle_of_a_message_starts_over() -> None:
    receiver = SegmentReceiver()
    first, second, _ = split(bytes(100), 40)
    assert receiver.feed(first) is None
    assert receiver.feed(second) is None
    begun = split(b"another message", 10)
    assert [receiver.feed(one) for one in begun] == [None, b"another message"]


# --- handshake messages ---------------------------------------------------------------------------------------

PARSERS: dict[str, Callable[[bytes], object]] = {
    "hello": messages.parse_hello,
    "platform": messages.parse_platform,
    "device": partial(messages.parse_sealed, kind=messages.DEVICE),
    "session": partial(messages.parse_sealed, kind=messages.SESSION),
}


def said(message: bytes) -> bytes:
    """The message with the length in its header made right."""
    return message[:4] + (len(message) - messages.HEADER).to_bytes(2) + message[messages.HEADER :]


@pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])
@pytest.mark.parametrize("name", PARSERS)
def test_a_message_that_goes_on_or_ends_early_is_refused(run: Run, name: str) -> None:
    whole, parse = getattr(run, name), PARSERS[name]
    assert parse(whole)
    grain = 16 if name in ("device", "session") else 1
    for size in (*range(messages.HEADER, len(whole), grain), len(whole) + 1, len(whole) + 2 * 16 - 1):
        changed = said(whole[:size] if size < len(whole) else whole + bytes(size - len(whole)))
        if grain == 1 or size > len(whole):
            refuses("link.length", lambda changed=changed: parse(changed))
    for other in (whole + b"\0", whole[:-1]):
        refuses("link.length", lambda other=other: parse(other))


def test_a_retry_that_goes_on_ends_early_or_has_another_cookie_is_refused() -> None:
    cookie = bytes(range(16))
    whole = messages.retry(cookie)
    assert whole == b"MS\x01\x05\x00\x11\x10" + cookie
    assert messages.parse_retry(whole) == cookie
    for changed in (whole + b"\0", whole[:-1], messages.retry(cookie[:-1]), messages.retry(cookie + b"\0")):
        refuses("link.length", lambda changed=changed: messages.parse_retry(said(changed)))


@pytest.mark.parametrize("suite", [1, 2])
def test_what_was_sealed_and_goes_on_or_ends_early_is_refused(suite: int) -> None:
    chain = (b"leaf", b"ca") if suite == 1 else ()
    credential = messages.Credential(chain, bytes(64) if suite == 1 else b"", bytes(range(32)))
    grant = messages.Grant(bytes(range(32)), 1, 2, 3, 2)
    for raw, read, made in (
        (credential.encode(), partial(messages.parse_credential, suite=suite), credential),
        (grant.encode(), messages.parse_grant, grant),
        (messages.chain_bytes((b"leaf", b"ca")), messages.parse_chain, (b"leaf", b"ca")),
    ):
        assert read(raw) == made
        for changed in (raw + b"\0", *(raw[:size] for size in range(1, len(raw)))):
            refuses("link.length", lambda read=read, changed=changed: read(changed))


@pytest.mark.parametrize("suite", [0, 3, 255])
def test_a_suite_that_does_not_exist_is_refused(suite: int) -> None:
    for name, at in (("hello", 6), ("platform", 6)):
        for run in SUITES:
            whole = getattr(run, name)
            changed = whole[:at] + bytes((suite,)) + whole[at + 1 :]
            refuses("link.suite", lambda changed=changed, name=name: PARSERS[name](changed))


def test_a_handshake_message_has_at_most_4096_bytes() -> None:
    longest = said(b"MS\x01\x01\0\0" + bytes(4090))
    assert messages.kind_of(longest) == messages.HELLO
    refuses("link.length", lambda: messages.kind_of(said(longest + b"\0")))
    assert messages.kind_of(b"MS\x01\x04\0\0") == messages.SESSION
    for header in (b"MS\x01\x04\0", b"MS\x02\x04\0\0", b"MS\x01\x06\0\0", b"MS\x01\x00\0\0"):
        refuses("link.header", lambda header=header: messages.kind_of(header))


def test_a_platform_message_may_fill_4096_bytes() -> None:
    def made(size: int) -> bytes:
        chain = [bytes(size), bytes(1941)]
        return messages.platform_up_to_signature(1, bytes(8), bytes(32), 1, bytes(65), chain)[0]

    assert messages.kind_of(made(1941) + bytes(96)) == messages.PLATFORM
    assert len(made(1941)) + 96 == 4096
    with pytest.raises(LocalError) as refused:
        made(1942)
    assert refused.value.code == "link.length"


@pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])
def test_only_a_hello_claims_a_device_id(run: Run) -> None:
    assert messages.device_id_of(run.hello) == messages.parse_hello(run.hello).device_id == run.hello[7:15]
    assert messages.device_id_of(said(run.hello[:15])) == run.hello[7:15]
    for other in (run.platform, run.device, run.session, said(run.hello[:14]), messages.retry(bytes(16))):
        assert messages.device_id_of(other) == b""


# --- security profiles ----------------------------------------------------------------------------------------


def profile(**change: str) -> str:
    """A profile as it is written, with some lines changed."""
    lines = {
        "padding": '"80"', "iv": '"counter"', "scope": '"field"', "tag": "16",
        "cipher.cjt188": "{ up = 96, down = 48 }", "cipher.dlt645": "{ up = 192, down = 48 }",
        "plain.cjt188": "{ up = 100, down = 50 }", "plain.dlt645": "{ up = 200, down = 50 }",
    }  # fmt: skip
    text = {name: change.get(name.replace(".", "_"), value) for name, value in lines.items()}
    return 'name = "x"\ntitle = "x"\nbasis = "x"\n' + "".join(
        f"{key} = {value}\n" for key, value in text.items()
    )


DOWN_32 = {"cipher_cjt188": "{ up = 96, down = 32 }", "cipher_dlt645": "{ up = 192, down = 32 }"}


def test_what_a_profile_says_is_what_it_is() -> None:
    ours = profiles.read(profile())
    assert (ours.whole, ours.fresh, ours.clear) == (True, True, {"cjt188": 0, "dlt645": 0})
    other = profiles.read(profile(scope='"payload"', iv='"zero"', **DOWN_32))
    assert (other.whole, other.fresh, other.clear) == (False, False, {"cjt188": 3, "dlt645": 4})


@pytest.mark.parametrize(
    "change",
    [
        {"plain_cjt188": "{ up = 101, down = 50 }"},
        {"plain_cjt188": "{ up = 100, down = 51 }"},
        {"plain_dlt645": "{ up = 201, down = 50 }"},
        {"plain_dlt645": "{ up = 200, down = 51 }"},
        {"plain_dlt645": "{ up = 0, down = 50 }"},
        {"cipher_cjt188": "{ up = 112, down = 48 }"},
        {"cipher_cjt188": "{ up = 0, down = 48 }"},
        {"cipher_cjt188": "{ up = 95, down = 48 }"},
        {"cipher_dlt645": "{ up = 208, down = 48 }"},
        {
            "scope": '"payload"',
            "plain_cjt188": "{ up = 100, down = 50 }",
            "cipher_dlt645": "{ up = 192, down = 64 }",
        },
        {"tag": "8"},
        {"tag": "17"},
        {"padding": '"none"'},
        {"tag": "16\ncolour = 1"},
        {"cipher_cjt188": "{ up = 96, down = 48, aside = 16 }"},
        {"plain_dlt645": "{ up = 200, down = 50, aside = 1 }"},
    ],
    ids=lambda change: " ".join(f"{name} {value}" for name, value in change.items()),
)
def test_a_profile_beyond_what_the_editions_allow_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(LocalError) as refused:
        profiles.read(profile(**change))
    assert refused.value.code == "link.profile"


def test_a_profile_that_leaves_out_a_protocol_is_refused() -> None:
    for section in ("cipher", "plain"):
        for protocol in ("cjt188", "dlt645"):
            lines = profile().splitlines()
            left = [line for line in lines if not line.startswith(f"{section}.{protocol}")]
            with pytest.raises(LocalError) as refused:
                profiles.read("\n".join(left))
            assert refused.value.code == "link.profile"


def test_the_least_and_the_greatest_sizes_of_a_profile_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    least = profiles.read(
        profile(plain_cjt188="{ up = 1, down = 1 }", cipher_cjt188="{ up = 16, down = 16 }")
    )
    assert (least.plain["cjt188", True], least.cipher["cjt188", False]) == (1, 16)
    exact = {("cjt188", True): 99, ("cjt188", False): 51, ("dlt645", True): 196, ("dlt645", False): 52}
    monkeypatch.setattr(
        profiles, "_LONGEST", exact
    )  # DI and SER and the cipher fill a field to its last byte
    sizes = {"plain_cjt188": "{ up = 99, down = 51 }", "plain_dlt645": "{ up = 196, down = 52 }"}
    assert not profiles.read(profile(scope='"payload"', **sizes)).whole
    monkeypatch.setattr(profiles, "_LONGEST", {at: size - 1 for at, size in exact.items()})
    with pytest.raises(LocalError):
        profiles.read(
            profile(
                scope='"payload"', plain_cjt188="{ up = 9, down = 9 }", plain_dlt645="{ up = 9, down = 9 }"
            )
        )
    monkeypatch.setattr(profiles, "_LONGEST", {at: size // 16 * 16 for at, size in exact.items()})
    full = {"plain_cjt188": "{ up = 9, down = 9 }", "plain_dlt645": "{ up = 9, down = 9 }"}
    assert profiles.read(profile(**full)).cipher["cjt188", True] == 96


def test_paddings_of_other_profiles_refuse_what_they_never_make() -> None:
    for name in ("length", "pkcs7"):
        pad, unpad = profiles._PADDINGS[name]  # type: ignore[index]
        for size in range(40):
            plain = bytes(range(size))
            assert unpad(pad(plain)) == plain
            assert len(pad(plain)) % 16 == 0
        for broken in (
            b"",
            bytes((16,)) + bytes(15),
            bytes((17,)) * 17,
            bytes(15) + b"\x00",
            bytes(16) + b"\x11" * 16,
        ):
            if name == "length" and broken[:1] == b"\0":
                continue
            refuses("crypto.padding", lambda unpad=unpad, broken=broken: unpad(broken))
    unpad = profiles._PADDINGS["length"][1]
    for broken in (bytes((16,)) + bytes(15), bytes((255,)) + bytes(15), bytes((15,)) + bytes(14)):
        refuses("crypto.padding", lambda broken=broken: unpad(broken))
    assert unpad(bytes((15,)) + bytes(15)) == bytes(15)


# --- records ----------------------------------------------------------------------------------------------------


def test_a_field_too_long_for_its_padding_to_count_is_refused_like_any_other() -> None:
    """A padding that begins with a length byte knows no field of 256 bytes."""
    counted = profiles.read(profile(padding='"length"'))
    for size in (96, 255, 256, 300):
        one = Frame("cjt188", DEVICE[0], DEVICE[:0:-1], 0x81, bytes(size))
        way = TrafficKeys(*(bytes(length) for length in (16, 32, 16, 16, 32, 16))).towards(up=True)
        with pytest.raises(LocalError) as refused:
            records.encrypt_frames(way, 1, [one], up=True, profile=counted)
        assert refused.value.code == "link.length"


# --- card commands: each sum made once more from the table of their page ------------------------------------------

AUTH = bytes(range(16))
CHALLENGE = bytes(range(100, 116))
HEADER, CONTENT = b"\x04\xd6\x86\x00\x24", b"what is written"


def div(key: bytes, factor: bytes) -> bytes:
    return sm4_ecb(key, factor + bytes(one ^ 0xFF for one in factor))


def cbc_mac(key: bytes, iv: bytes, text: bytes) -> bytes:
    text += b"\x80" + bytes(-(len(text) + 1) % 16)
    return sm4_cbc_encrypt(key, iv + bytes(16 - len(iv)), text)[-16:-12]


@pytest.fixture
def auth() -> SymmetricKey:
    return SymmetricKey.from_bytes(AUTH, "K_auth")


def test_each_purpose_of_an_answer_has_its_own_key(auth: SymmetricKey) -> None:
    factors = {0: b"EXTA0001", 1: b"UNLK0001", 2: b"LOCK0001", 3: b"DSTR0001"}
    assert {int(one) for one in cardkeys.Purpose} == set(factors)
    assert [cardkeys.Purpose[name] for name in ("RIGHTS", "UNLOCK", "LOCK", "DESTROY")] == [0, 1, 2, 3]
    for purpose, factor in factors.items():
        key = cardkeys.external_key(auth, cardkeys.Purpose(purpose))
        assert key.ecb(CHALLENGE) == sm4_ecb(div(AUTH, factor), CHALLENGE)
    assert cardkeys.internal_key(auth).ecb(CHALLENGE) == sm4_ecb(div(AUTH, b"INTA0001"), CHALLENGE)


def test_an_answer_is_the_two_halves_of_a_block_added(auth: SymmetricKey) -> None:
    block = sm4_ecb(AUTH, CHALLENGE)
    assert cardkeys.folded(auth, CHALLENGE) == bytes(a ^ b for a, b in zip(block[:8], block[8:], strict=True))


def test_macs_of_files_are_made_under_session_keys_of_their_own(auth: SymmetricKey) -> None:
    session = div(div(AUTH, b"FILE0001"), CHALLENGE[:8])
    assert cardkeys.file_mac(auth, CHALLENGE, HEADER, CONTENT) == cbc_mac(
        session, CHALLENGE[8:], HEADER + CONTENT
    )
    asked = CHALLENGE[:8]
    session = div(div(AUTH, b"READ0001"), asked)
    assert cardkeys.read_mac(auth, asked, HEADER, CONTENT) == cbc_mac(
        session, asked, HEADER + asked + CONTENT
    )


def test_a_key_is_written_under_a_session_key_and_a_mac_key_of_its_own(auth: SymmetricKey) -> None:
    padded = CONTENT + b"\x80"
    enc, mac = (div(div(AUTH, factor), CHALLENGE[:8]) for factor in (b"WENC0001", b"WMAC0001"))
    cipher = sm4_cbc_encrypt(enc, CHALLENGE[8:] + bytes(8), padded)
    written = cipher + cbc_mac(mac, CHALLENGE[8:], HEADER + cipher)
    assert cardkeys.sealed_key(auth, CHALLENGE, HEADER, CONTENT) == written
    assert cardkeys.secret_mac(auth, CHALLENGE, HEADER, cipher) == written[-4:]
    assert cardkeys.opened_key(auth, CHALLENGE, cipher) == padded


def test_the_proof_of_a_device_is_16_bytes_over_its_id_and_the_challenge(auth: SymmetricKey) -> None:
    proof = cardkeys.presence(auth, DEVICE, CHALLENGE)
    assert proof == hmac_sm3(AUTH, b"ms1 bind", DEVICE, CHALLENGE)[:16]
    assert len(proof) == cardkeys.PROOF == 16
