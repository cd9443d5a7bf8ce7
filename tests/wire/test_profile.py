"""Meter models: each data file holds, and a file that does not is named with its fault."""

from __future__ import annotations

from importlib.resources import files

import pytest

from meterseal.errors import DataError
from meterseal.link.profiles import load as security_profile
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.profile import Models, Profile, largest_data, parse_profile, profile_of, profiles
from meterseal.wire.roles import matches

from .frames import VALID

SOURCE = files("meterseal.wire").joinpath("profiles", "water-generic.toml").read_text("utf-8")


CAPTURED = {
    parse_frame(bytes.fromhex(vector["hex"]).lstrip(b"\xfe"))[0]
    for vector in VALID
    if vector["expect"]["protocol"] == "cjt188"
}
MODELS = sorted(profiles())


def frames_of(profile: Profile) -> list[Frame]:
    raw = [bytes.fromhex(vector.hex).lstrip(b"\xfe") for vector in profile.vectors if not vector.synthetic]
    return [parse_frame(one)[0] for one in raw]


def test_the_models_of_the_package() -> None:
    assert {"water-generic", "gas-generic", "heat-generic", "electricity-generic"} <= set(profiles())
    media = [profile.medium for profile in profiles().values() if not profile.name.endswith("-generic")]
    assert {medium: media.count(medium) > 1 for medium in ("water", "heat", "gas")} == {
        "water": True,
        "heat": True,
        "gas": True,
    }
    assert len(media) >= 10


@pytest.mark.parametrize("name", MODELS)
def test_each_model_has_a_captured_frame_that_is_known_as_its_own(name: str) -> None:
    profile = profiles()[name]
    frames = [frame for frame in frames_of(profile) if 0xAA not in frame.address]
    assert frames
    for frame in frames:
        closest = profile_of(frame.device_id, frames)
        assert closest is profile or name.endswith("-generic")


@pytest.mark.parametrize("name", MODELS)
def test_each_model_names_a_security_profile_of_the_link_and_stays_within_it(name: str) -> None:
    profile = profiles()[name]
    link = security_profile(profile.security)
    assert profile.limits.up <= link.cipher[profile.protocol, True]
    assert profile.limits.down <= link.cipher[profile.protocol, False]


def test_every_captured_frame_of_a_meter_has_a_model_that_knows_it() -> None:
    for frame in CAPTURED:
        if 0xAA not in (frame.meter_type, *frame.address):
            assert profile_of(frame.device_id, [frame]).detects(frame.device_id)


@pytest.mark.parametrize(
    ("device", "medium", "up"),
    [
        ("1078330011223344", "water", 96),
        ("19", "water", 96),
        ("2500000000000000", "heat", 96),
        ("3078330011223344", "gas", 96),
        ("d700000000000161", "electricity", 192),
    ],
)
def test_detection_and_limits(device: str, medium: str, up: int) -> None:
    device_id = bytes.fromhex(device)
    assert profile_of(device_id).medium == medium
    assert (largest_data(device_id, up=True), largest_data(device_id, up=False)) == (up, 48)


@pytest.mark.parametrize("device", [b"", b"\xf0" + bytes(7), b"\x40" + bytes(7)])
def test_unknown_types_have_no_model(device: bytes) -> None:
    with pytest.raises(DataError, match="No meter profile"):
        profile_of(device)
    assert largest_data(device, up=True) == 96


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("up = 96", "up = 112", "limits are above"),
        ("up = 96", "up = 95", "not well formed"),
        ("up = 96", "sideways = 96", "not well formed"),
        ('medium = "water"', 'medium = "steam"', "not well formed"),
        ('detect = ["1?"]', 'detect = ["3?"]', "is not detected"),
        ("556677.00 m3", "556677.01 m3", "reads"),
        ("21841316", "21841416", "is no frame"),
        ('hex = "68', 'hex = "6', "is no frame"),
        ("[fields.settlement_volume]", "[fields.other]", "no sentence"),
        ("name =", "name", "not well formed"),
        ('di_order = "low"', 'di_order = "high"', "its habits make"),
        ("[cjt188.rollover]", "[cjt188]\nunits_first = true\n[cjt188.rollover]", "its habits make"),
        ("[cjt188.rollover]", "[cjt188.rollover]\nwarmth = 8", "speak of warmth"),
        ("[cjt188.rollover]", "[dlt645]\n[cjt188.rollover]", "has habits of dlt645"),
        ('hex = "68', 'hex = "FEFE68', "2 bytes FE in front"),
        ('21841316"', '2184131600"', "bytes behind"),
        ("[[vectors]]", '[[vectors]]\nclock = "2015-05-11T22:01:32"', "the clock of"),
        ("[[vectors]]", '[[vectors]]\nstatus = "2185"', "the status of"),
    ],
)
def test_a_file_that_does_not_hold_is_refused_with_its_fault(old: str, new: str, why: str) -> None:
    assert old in SOURCE
    with pytest.raises(DataError, match=why) as caught:
        parse_profile(SOURCE.replace(old, new))
    assert caught.value.code == "wire.profile"


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 50_000,
        "name = " + "9" * 5_000,
        "valve = 1e400",
        "\x00",
        "\ud800",
    ],
    ids=range(6),
)
def test_files_that_no_parser_likes_are_one_sentence(text: str) -> None:
    with pytest.raises(DataError, match="not well formed") as caught:
        parse_profile(text)
    assert len(caught.value.message) < 300


def test_two_models_that_nothing_tells_apart_are_refused() -> None:
    one = parse_profile(SOURCE)
    twin = parse_profile(SOURCE.replace('name = "water-generic"', 'name = "water-twin"'))
    with pytest.raises(DataError, match="detect the same meters"):
        Models([one, twin])
    with pytest.raises(DataError, match="are named"):
        Models([one, one])
    crossing = parse_profile(SOURCE.replace("water-generic", "water-cross").replace('"1?"', '"?0"'))
    with pytest.raises(DataError, match="detect the same meters"):
        Models([one, crossing])
    with pytest.raises(DataError, match="is not detected"):
        parse_profile(SOURCE.replace('"1?"', '"??"'))


def test_more_digits_win_and_a_users_model_wins_over_the_packages() -> None:
    narrow = parse_profile(SOURCE.replace("water-generic", "water-narrow").replace('"1?"', '"107833"'))
    same = parse_profile(SOURCE.replace("water-generic", "water-mine"))
    models = Models([narrow, same], profiles().values())
    assert models.of(bytes.fromhex("1078330011223344")) is narrow
    assert models.of(bytes.fromhex("1900000000000000")) is same
    assert models.of(bytes.fromhex("2900000000000000")).name == "heat-generic"
    replaced = parse_profile(SOURCE.replace("Water meter, CJ/T 188", "Mine"))
    assert Models([replaced], profiles().values()).by_name["water-generic"] is replaced


def test_a_fingerprint_tells_two_models_of_one_vendor_code_apart() -> None:
    low = parse_frame(
        bytes.fromhex("68104433221100337881161F9000007766552C007766552C3101221105152021841316")
    )[0]
    high = parse_frame(
        bytes.fromhex("6810454110051533788116901FAA005959002CFFFFFFFF2CFFFFFFFFFFFFFF0000C216")
    )[0]
    assert profile_of(low.device_id, [low]).name == "water-7833-low"
    assert profile_of(high.device_id, [high]).name == "water-7833-blank"
    assert profile_of(low.device_id).name == "water-generic", "a number alone shows no fingerprint"
    assert profile_of(low.device_id, [low, high]).name == "water-generic", (
        "traits that contradict one another"
    )


def test_a_fingerprint_of_lengths_and_controls() -> None:
    marked = SOURCE.replace("water-generic", "water-marked").replace(
        "[limits]", '[fingerprint]\nlengths = [22]\ncontrols = ["AA"]\n\n[limits]'
    )
    models = Models([parse_profile(marked)], profiles().values())
    valve, metering = (
        parse_frame(bytes.fromhex(text))[0]
        for text in (
            "681001000005080000AA05A0170000FFEB16",
            "6810010000050800008116901F00002301002C000000002C0000000000000000004816",
        )
    )
    assert models.of(metering.device_id, [valve, metering]).name == "water-valve-2a", "more digits"
    other = bytes.fromhex("1900000000000000")
    assert models.of(other, [valve, metering]).name == "water-marked"
    assert models.of(other, [valve]).name == "water-generic"
    assert models.of(other, [metering]).name == "water-generic"


def test_answers_of_the_vectors_answer_their_requests() -> None:
    profile = profiles()["heat-units-first"]
    request, got = frames_of(profile)
    assert matches(request, got, profile).answers
