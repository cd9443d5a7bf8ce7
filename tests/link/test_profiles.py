"""Security profiles are data: every record test that a profile can change, over ours and two that differ in every choice.

One of the two is a guess at CJ/T 188-2018, which nobody has confirmed; the other is no standard at all.
Both live in tests only. Proves HM 8.5.5.2 for ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.crypto.symmetric import hmac_sm3, pad80, sm4_cbc_encrypt, sm4_ecb
from meterseal.errors import LocalError, PeerError, TrustError
from meterseal.link import commands, control, profiles, records
from meterseal.link.profiles import OURS, SecurityProfile
from meterseal.link.records import CONTROL, DOWN, HEADER, PLAIN, WANTED
from meterseal.wire import encode
from meterseal.wire.frame import Frame
from tests.link.parties import DEVICE, OTHER_DEVICE, code_of, refuses
from tests.link.test_records import KEYS, METER_645, SESSION, frame

FOLDER = Path(__file__).parent / "profile_data"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.toml"))}
PROFILES = [OURS, *(profiles.read(text) for text in TEXTS.values())]
each = pytest.mark.parametrize("profile", PROFILES, ids=[one.name for one in PROFILES])
others = pytest.mark.parametrize("profile", PROFILES[1:], ids=[one.name for one in PROFILES[1:]])
meters = st.sampled_from([DEVICE, METER_645])


def opened(
    record: bytes, profile: SecurityProfile, device_id: bytes = DEVICE, *, up: bool = True
) -> list[Frame]:
    header = records.parse_header(record, up=up, profile=profile)
    if not records.check_tag(KEYS, record, profile):
        raise TrustError("link.tag", "no")
    frames = records.parse_body(header, record, frame(b"", device_id).protocol)
    records.check_addresses(header, frames, device_id)
    return records.open_frames(KEYS, header, frames, profile)


def sealed(body: bytes, profile: SecurityProfile, flags: int = WANTED, counter: int = 1) -> bytes:
    head = b"MR\x01" + bytes((flags,)) + SESSION + counter.to_bytes(6, "big") + len(body).to_bytes(2, "big")
    mac = KEYS.down_mac if flags & DOWN else KEYS.up_mac
    return head + body + hmac_sm3(mac, head + body)[: profile.tag]


def test_ours_is_the_page() -> None:
    assert OURS.name == "meterseal-1"
    assert "meterseal-1" in profiles.names()
    assert (OURS.tag, OURS.whole, OURS.fresh) == (16, True, True)
    assert OURS.cipher["cjt188", True] == 96
    assert OURS.cipher["dlt645", True] == 192
    assert OURS.cipher["cjt188", False] == OURS.cipher["dlt645", False] == 48
    assert [OURS.plain[protocol, up] for protocol in ("cjt188", "dlt645") for up in (True, False)] == [  # type: ignore[index]
        *(100, 50, 200, 50)
    ]
    assert OURS.ivs(b"k" * 16, 7, 2) == sm4_ecb(
        b"k" * 16, b"".join((7).to_bytes(6, "big") + bytes((0, at)) + bytes(8) for at in (0, 1))
    )
    again = profiles.load("meterseal-1")
    assert (again.title, again.basis, again.cipher, again.plain) == (
        OURS.title,
        OURS.basis,
        OURS.cipher,
        OURS.plain,
    )


@each
@given(
    meters, st.lists(st.binary(min_size=4, max_size=47), min_size=1, max_size=5), st.integers(1, 2**48 - 1)
)
def test_what_is_sealed_opens(
    profile: SecurityProfile, device_id: bytes, fields: list[bytes], counter: int
) -> None:
    frames = [frame(one, device_id) for one in fields]
    for plain in (False, True):
        record = records.seal_record(
            KEYS,
            SESSION,
            counter,
            [one.encode() for one in frames],
            up=True,
            plain=plain,
            protocol=frames[0].protocol,
            profile=profile,
        )
        assert opened(record, profile, device_id) == frames


@others
def test_a_record_is_what_the_profile_says_byte_by_byte(profile: SecurityProfile) -> None:
    """An independent composition of the two test profiles."""
    data = b"\x90\x1f\x00" + bytes(range(20))
    if profile.name == "cjt188-2018-assumed":
        padded, iv = bytes((20,)) + data[3:] + b"\x80" + bytes(10), bytes(16)
    else:
        padded = data[3:] + bytes((12,)) * 12
        iv = sm4_ecb(KEYS.up_iv, (5).to_bytes(6, "big") + bytes(10))
    cipher = data[:3] + sm4_cbc_encrypt(KEYS.up_enc, iv, padded)
    record = records.seal_record(KEYS, SESSION, 5, [frame(data).encode()], up=True, profile=profile)
    assert record == sealed(frame(cipher).encode(), profile, counter=5)


@each
def test_only_a_profile_with_fresh_ivs_hides_that_data_are_equal(profile: SecurityProfile) -> None:
    data = frame(b"\x90\x1f\x00" + bytes(20)).encode()
    bodies = {
        records.seal_record(KEYS, SESSION, counter, [data], up=True, profile=profile)[HEADER : -profile.tag]
        for counter in (1, 2, 3)
    }
    assert len(bodies) == (3 if profile.fresh else 1)


@each
@pytest.mark.parametrize("device_id", [DEVICE, METER_645])
@pytest.mark.parametrize("up", [True, False])
def test_the_largest_fields_pass_and_one_byte_more_does_not(
    profile: SecurityProfile, device_id: bytes, up: bool
) -> None:
    protocol = frame(b"", device_id).protocol
    most = profile.cipher[protocol, up] + profile.clear[protocol] - 1
    for plain, size in ((False, most), (True, profile.plain[protocol, up])):
        whole, over = (frame(bytes(n), device_id).encode() for n in (size, size + 2))
        record = records.seal_record(KEYS, SESSION, 1, [whole], up=up, plain=plain, profile=profile)
        assert [one.encode() for one in opened(record, profile, device_id, up=up)] == [whole]
        with pytest.raises(LocalError):
            records.seal_record(KEYS, SESSION, 1, [over], up=up, plain=plain, profile=profile)
        flags = (WANTED if up else DOWN) | (PLAIN if plain else 0)
        sent = frame(bytes(size + 17), device_id).encode()
        refuses(
            "link.length", lambda f=flags, s=sent: opened(sealed(s, profile, f), profile, device_id, up=up)
        )


@each
def test_cipher_that_is_no_whole_blocks_behind_what_is_clear_is_refused(profile: SecurityProfile) -> None:
    clear = profile.clear["cjt188"]
    for size in (0, clear, clear + 1, clear + 15, clear + 17):
        record = sealed(frame(bytes(size)).encode(), profile)
        refuses("link.length", lambda record=record: opened(record, profile))


@each
def test_padding_that_the_profile_never_makes_is_refused(profile: SecurityProfile) -> None:
    made = {profile.pad(bytes(size)) for size in range(40)}
    clear = bytes(profile.clear["cjt188"])
    iv = profile.ivs(KEYS.up_iv, 1, 1)
    for padded in (
        bytes(16),
        b"\x80" + bytes(31),
        b"x" * 16,
        b"\xff" * 16,
        b"\x11" * 32,
        b"\x05" + b"x" * 15,
    ):
        assert padded not in made
        bad = frame(clear + sm4_cbc_encrypt(KEYS.up_enc, iv, padded)).encode()
        refuses("link.padding", lambda bad=bad: opened(sealed(bad, profile), profile))


@each
@given(st.binary(max_size=120))
def test_padding_is_whole_blocks_and_comes_off_again(profile: SecurityProfile, plain: bytes) -> None:
    padded = profile.pad(plain)
    assert len(padded) % 16 == 0
    assert profile.unpad(padded) == plain


@each
@given(st.binary(max_size=64))
def test_any_bytes_are_padding_of_something_or_refused(profile: SecurityProfile, padded: bytes) -> None:
    try:
        plain = profile.unpad(padded)
    except TrustError:
        return
    assert profile.pad(plain) == padded


@each
def test_addresses_checksums_and_bodies_are_judged_alike(profile: SecurityProfile) -> None:
    data = b"\x90\x1f\x00" + bytes(20)
    good, foreign = frame(data).encode(), frame(data, OTHER_DEVICE).encode()
    record = records.seal_record(KEYS, SESSION, 1, [good, foreign], up=True, profile=profile)
    refuses("link.address", lambda: opened(record, profile))
    body = records.seal_record(KEYS, SESSION, 1, [good], up=True, profile=profile)[HEADER : -profile.tag]
    bad = body[:-2] + bytes((body[-2] ^ 1,)) + body[-1:]
    refuses("wire.checksum", lambda: opened(sealed(bad, profile), profile))
    for wrong in (b"", b"\xfe" + good, good[:-1]):
        assert code_of(
            lambda wrong=wrong: opened(sealed(wrong, profile, WANTED | PLAIN), profile)
        ).startswith("wire.")


def changed(message: bytes) -> Iterator[bytes]:
    for at in range(len(message)):
        for bit in range(8):
            yield message[:at] + bytes((message[at] ^ 1 << bit,)) + message[at + 1 :]
        yield message[:at]
    yield message + b"\0"


VALVE = encode.read_request(DEVICE, 0x901F).with_data(b"\x17\xa0\x07\x55").encode()


def kinds(profile: SecurityProfile) -> dict[str, bytes]:
    """A record of each kind under a profile."""
    data = frame(b"\x90\x1f\x00" + bytes(20)).encode()
    seal = {"up": True, "profile": profile}
    found = {
        "cipher": records.seal_record(KEYS, SESSION, 9, [data], **seal),  # type: ignore[arg-type]
        "plain": records.seal_record(KEYS, SESSION, 9, [data], plain=True, **seal),  # type: ignore[arg-type]
        "vouched": records.seal_record(KEYS, SESSION, 9, [data], vouched=True, **seal),  # type: ignore[arg-type]
        "guarded": commands.seal_guarded(
            KEYS, SESSION, 9, number=1, not_after=2, authorisation=bytes(16), frame=VALVE, profile=profile
        ),
    }
    for word, up in (
        (control.ping(), True),
        (control.ping(), False),
        (control.acks([1, 2])[0], False),
        (control.reject(1, 2), False),
        (control.evidence(bytes(65), bytes(64)), True),
        (control.cert((bytes(400), bytes(400))), False),
    ):
        found[f"word {word.kind} {up}"] = control.seal_control(KEYS, SESSION, 9, word, up=up, profile=profile)
    return found


def take(record: bytes, profile: SecurityProfile, up: bool) -> object:
    header = records.parse_header(record, up=up, profile=profile)
    if not records.check_tag(KEYS, record, profile):
        raise TrustError("link.tag", "no")
    if header.control:
        return control.open_control(KEYS, header, record, profile)
    if header.guarded:
        return commands.open_guarded(KEYS, header, record, DEVICE, "cjt188", profile)
    return opened(record, profile)


@each
@pytest.mark.parametrize("kind", sorted(kinds(OURS)))
def test_every_changed_bit_and_every_cut_is_refused(profile: SecurityProfile, kind: str) -> None:
    record = kinds(profile)[kind]
    up = not record[3] & DOWN
    take(record, profile, up)
    for one in changed(record):
        with pytest.raises((PeerError, TrustError)):
            take(one, profile, up)


@each
def test_a_record_of_one_profile_is_none_of_another(profile: SecurityProfile) -> None:
    for kind, record in kinds(profile).items():
        for other in PROFILES:
            if other is profile or kind not in ("cipher", "vouched"):
                continue  # tags are alike, and a word of control has the same padding in all of them
            with pytest.raises((PeerError, TrustError)):
                take(record, other, not record[3] & DOWN)


def test_a_word_is_no_data_field_and_its_padding_is_always_ours() -> None:
    for profile in PROFILES:
        record = kinds(profile)["word 5 False"]
        iv = profile.ivs(KEYS.down_iv, 9, 1)
        body = sm4_cbc_encrypt(KEYS.down_enc, iv, pad80(b"\x05" + bytes(5) + b"\x01\x02"))
        assert record == sealed(body, profile, CONTROL | DOWN, 9)


def test_a_field_too_short_to_leave_its_identifier_in_clear_is_not_sent() -> None:
    for profile in PROFILES[1:]:
        with pytest.raises(LocalError):
            records.seal_record(KEYS, SESSION, 1, [frame(b"\x90").encode()], up=True, profile=profile)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('padding = "length"', 'padding = "none"'),
        ('iv = "zero"', 'iv = "random"'),
        ("tag = 16", "tag = 8"),
        ("tag = 16", "tag = 17"),
        ("tag = 16", "tag = 32"),
        ("up = 96, down = 32", "up = 112, down = 32"),
        ("up = 96, down = 32", "up = 90, down = 32"),
        ("up = 96, down = 32", "up = 96, down = 48"),
        ("up = 100, down = 50", "up = 101, down = 50"),
        ("up = 100, down = 50", "up = 0, down = 50"),
        ("dlt645 = { up = 192, down = 32 }", "dlt645 = { up = 208, down = 32 }"),
        ('scope = "payload"', 'scope = "payload"\nsurprise = 1'),
        ("tag = 16", ""),
        ('name = "', "name = "),
    ],
)
def test_what_no_profile_may_say_is_refused(old: str, new: str) -> None:
    text = TEXTS["cjt188-2018-assumed"]
    assert old in text
    with pytest.raises(LocalError) as refused:
        profiles.read(text.replace(old, new, 1))
    assert refused.value.code == "link.profile"


def test_an_unknown_profile_is_named_with_those_that_there_are() -> None:
    for name in ("cjt188-2018", "../meterseal-1", ""):
        with pytest.raises(LocalError, match="meterseal-1") as refused:
            profiles.load(name)
        assert refused.value.code == "link.profile"
