"""A model started from captured frames holds, makes its frames again, and is the one chosen for such meters."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.errors import DataError
from meterseal.wire import roles
from meterseal.wire.asked import Ask
from meterseal.wire.captured import MOST_FRAMES, MOST_VECTORS
from meterseal.wire.draft import draft
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.profile import Models, Profile, parse_profile, profiles

from .frames import ADDRESS, VALID, electricity, household
from .households import CALM, NOON, WATER, model

HEX = [vector["hex"] for vector in VALID]
CLOCKED = "31012211051520"


def drafted(frames: list[Frame | bytes | str]) -> Profile:
    lines = [
        one if isinstance(one, str) else (one if isinstance(one, bytes) else one.encode()).hex()
        for one in frames
    ]
    made = draft(lines)
    assert made.left_out == ()
    return parse_profile(made.text)


@pytest.mark.parametrize("name", sorted(profiles()))
def test_the_frames_of_every_model_start_a_model_that_is_chosen_for_its_meters(name: str) -> None:
    known = profiles()[name]
    made = draft([vector.hex for vector in known.vectors])
    assert made.left_out == ()
    profile = parse_profile(made.text)
    bare = {vector.hex.lstrip("FE") for vector in profile.vectors}
    assert bare == {vector.hex.lstrip("FE") for vector in known.vectors}
    assert profile.medium == known.medium
    models = Models([profile], profiles().values())
    frames = [parse_frame(bytes.fromhex(vector.hex).lstrip(b"\xfe"))[0] for vector in known.vectors]
    for frame in frames:
        if 0xAA not in frame.address:
            assert models.of(frame.device_id, frames) is profile


def test_habits_are_seen() -> None:
    other = model(
        units_first=True,
        clock_order="high",
        error_layout="di-ser-error",
        write_answers={"A011": 5},
        address_in_data=True,
        answer_order="high",
        functions={"valve": "2A"},
        high_first=False,
    )
    read = roles.request(WATER, Ask(kind="read", di=0x901F), other)
    values = {"cumulative_volume": 1, "settlement_volume": 2, "clock": NOON, "status": bytes(2)}
    day = roles.request(WATER, Ask(kind="settlement-day", values={"settlement_day": 5}), other)
    address = roles.request(WATER, Ask(kind="read-address"), other)
    valve = roles.request(WATER, Ask(kind="valve", action="close"), other)
    profile = drafted(
        [
            read,
            roles.answer(WATER, read, values, other),
            day,
            roles.done(WATER, day, other),
            address,
            roles.address_answer(WATER, address, other),
            valve,
            roles.done(WATER, valve, other),
            roles.refuse(WATER, read, "no-such-data", other),
        ]
    )
    assert (profile.di_order, profile.valve, profile.cjt188) == ("low", True, other.cjt188)
    assert profile.detect == ("107833",)


def test_a_layout_of_the_makers_own_is_kept_by_its_fields_or_as_bytes() -> None:
    flow = f"901F00 01000000 2C 02000000 2C 03000000 35 {CLOCKED} 0000 AB CD"
    profile = drafted([household(0x81, flow)])
    assert profile.cjt188.payloads["901F"] == (
        "cumulative_volume",
        "settlement_volume",
        "flow_rate",
        "clock",
        "status",
        "tail",
    )
    strange = drafted([household(0x81, "901F00 112233")])
    assert strange.cjt188.payloads == {"901F": ("payload",)}
    assert strange.vectors[0].readings == {}


def test_a_frame_that_cannot_be_kept_costs_the_others_nothing() -> None:
    payload = f"901F00 01000000 2C 02000000 2C {CLOCKED} 0000"
    lines = [household(0x81, payload, address=address).hex() for address in (b"\xff" + ADDRESS[1:], ADDRESS)]
    made = draft(lines)
    assert [line[:28].lower() for line in made.left_out] == [lines[0][:28]]
    kept = parse_profile(made.text)
    assert kept.cjt188.payloads == {}
    assert kept.vectors[0].readings == {"cumulative_volume": "0.01 m3", "settlement_volume": "0.02 m3"}


def test_wake_up_bytes_units_blanks_and_reports() -> None:
    blank = f"901F00 01000000 29 02000000 29 {'FF' * 7} 0000"
    profile = drafted(
        [
            "FEFEFE" + household(0x81, blank).hex(),
            "FE" + household(0x81, "810A00").hex(),
            household(0xA1, "901F07 0102"),
        ]
    )
    assert (profile.timing.preamble_up, profile.timing.preamble_down) == (3, 4)
    assert profile.cjt188.unset_clock == "FF"
    assert profile.cjt188.units == {"cumulative_volume": "29", "settlement_volume": "29"}
    assert profile.cjt188.report == "A1"
    assert {vector.hex[:6] for vector in profile.vectors} == {"FEFEFE", "681044"}


def test_a_type_that_is_asked_and_does_not_answer() -> None:
    profile = drafted(
        [household(0x03, "810A00", meter_type=0x20), household(0x83, "810A00", meter_type=0x25)]
    )
    assert profile.cjt188.asked_as == "20"
    both = drafted([household(0x83, "810A00", meter_type=kind) for kind in (0x20, 0x25)])
    assert both.cjt188.asked_as is None


def test_frames_of_another_kind_and_lines_without_a_frame_are_named() -> None:
    water = household(0x81, "810A00").hex()
    made = draft(
        ["# a remark", "", water, electricity(0x93, "610100000000").hex(), "zz", water[:-4] + "0016", water]
    )
    assert parse_profile(made.text).medium == "water"
    assert len(made.left_out) == 3
    for sentence, part in zip(sorted(made.left_out), ("electricity meters", "line 5", "line 6"), strict=True):
        assert part in sentence


def test_requests_to_any_meter_are_kept_with_the_kind_they_are_for() -> None:
    water = household(0x81, "810A00").hex()
    to_any, to_water, to_heat = (
        household(0x03, "810A00", meter_type=kind, address=b"\xaa" * 7).hex() for kind in (0xAA, 0x10, 0x20)
    )
    made = draft([to_heat, to_any, to_water, household(0x03, "810A00", meter_type=0xAA).hex(), water])
    assert made.left_out == ()
    kept = {vector.hex for vector in parse_profile(made.text).vectors}
    assert kept == {
        water.upper(),
        to_any.upper(),
        to_water.upper(),
        household(0x03, "810A00", meter_type=0xAA).hex().upper(),
    }


def test_several_meters_share_the_digits_they_share() -> None:
    near, far = (ADDRESS[:1] + b"\x99" + ADDRESS[2:], ADDRESS[:4] + b"\x44" + ADDRESS[5:])
    two, three = (
        drafted([household(0x83, "810A00", address=one) for one in meters])
        for meters in ((ADDRESS, near), (ADDRESS, near, far))
    )
    assert (two.detect, three.detect) == (("107833001122",), ("107833",))
    types = drafted([household(0x83, "810A00", meter_type=kind) for kind in (0x20, 0x25)])
    assert types.detect == ("207833", "257833")


@pytest.mark.parametrize(
    "lines",
    [[], ["zz"], ["68AAAAAAAAAAAAAA0303810A004916"], [household(0x81, "810A00", meter_type=0x45).hex()]],
    ids=len,
)
def test_without_a_frame_of_a_meter_there_is_no_model(lines: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        draft(lines)
    assert caught.value.code == "wire.profile"


def test_long_captures_are_cut_and_said_to_be() -> None:
    made = draft([household(1, f"901F{number % 256:02X}").hex() for number in range(MOST_FRAMES + 5)])
    assert "only the first" in made.left_out[0]
    assert len(parse_profile(made.text).vectors) == MOST_VECTORS
    one_line = draft([household(1, "901F00").hex() * (MOST_FRAMES + 5)])
    assert "only the first" in one_line.left_out[0]
    noise = draft([household(1, "901F00").hex(), *["zz"] * 10_000, household(1, "901F00").hex()])
    assert "after line 201" in noise.left_out[-1]


def test_text_from_a_meter_cannot_break_the_file() -> None:
    words = b"\x01\x7f\x22\x5c\x0a\x00"
    raw = electricity(0x91, bytes.fromhex("04040004") + words)
    made = draft([raw.hex()])
    assert tomllib.loads(made.text)["medium"] == "electricity"
    assert parse_profile(made.text).vectors[0].readings["rated_voltage"]


capture = st.lists(
    st.one_of(
        st.sampled_from(HEX),
        st.text(max_size=40),
        st.builds(
            lambda control, di, rest, kind: household(control, bytes.fromhex(di) + rest, kind).hex(),
            st.integers(0, 255),
            st.sampled_from(["1F90", "901F", "D120", "8105", "A017", "17A0", "A011", "C001", "02E0"]),
            st.binary(max_size=50),
            st.sampled_from([0x10, 0x10, 0x25, 0x30, 0x45]),
        ),
    ),
    max_size=6,
)


@given(capture)
@settings(CALM, max_examples=60)
def test_any_capture_gives_a_model_that_holds_or_one_sentence(lines: list[str]) -> None:
    try:
        made = draft(lines)
    except DataError as error:
        code = error.code
    else:
        assert parse_profile(made.text).vectors
        return
    assert code == "wire.profile"


def run(*arguments: str, cwd: Path, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "meterseal", *arguments]
    return subprocess.run(command, input=feed, capture_output=True, check=False, cwd=cwd)


def test_the_command_writes_a_file_that_decode_takes(tmp_path: Path) -> None:
    frames = tmp_path / "frames.txt"
    frames.write_text(
        "\n".join([*(vector.hex for vector in profiles()["water-valve-2a"].vectors), "zz"]), "utf-8"
    )
    made = run("device", "new-profile", str(frames), "--name", "water-mine", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, b"")
    assert b"water-valve-2a takes such meters already" in made.stdout
    assert b"Left out: line 10" in made.stdout
    assert parse_profile((tmp_path / "water-mine.toml").read_text("utf-8")).name == "water-mine"
    answer = run(
        "decode",
        "--json",
        "--profiles",
        str(tmp_path),
        profiles()["water-valve-2a"].vectors[1].hex,
        cwd=tmp_path,
    )
    got = json.loads(answer.stdout)
    assert got["model"]["name"] == "water-mine"
    assert set(got["model"]["readings"]) == {"cumulative_volume", "settlement_volume"}
    again = run("device", "new-profile", "-", "--name", "water-mine", cwd=tmp_path, feed=frames.read_bytes())
    assert (again.returncode, again.stdout) == (2, b"")
    assert b"is there already" in again.stderr
    (tmp_path / "broken.toml").write_text("name = 5", "utf-8")
    broken = run("decode", "--profiles", str(tmp_path), HEX[0], cwd=tmp_path)
    assert (broken.returncode, broken.stdout) == (1, b"")
    assert b"broken.toml" in broken.stderr
