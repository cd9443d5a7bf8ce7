"""Electricity meter models: how each is told from the others, and what its habits change."""

from __future__ import annotations

import pytest

from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.meter import MeterState
from meterseal.wire import roles
from meterseal.wire.asked import Ask
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import profile_of, profiles

from .frames import VALID

CAPTURED = [
    parse_frame(bytes.fromhex(vector["hex"]).lstrip(b"\xfe"))[0]
    for vector in VALID
    if vector["expect"]["protocol"] == "dlt645"
]

ELECTRIC = [name for name, profile in profiles().items() if profile.protocol == "dlt645"]
NOW = 1_794_000_000_000


def model(number: str, *frames: Frame) -> str:
    return profile_of(bytes.fromhex("d700" + number), frames).name


def test_there_are_six_models_beside_the_generic_one() -> None:
    assert len(ELECTRIC) >= 7
    assert all(profiles()[name].medium == "electricity" for name in ELECTRIC)


def test_every_captured_electricity_frame_has_a_model_of_its_edition() -> None:
    for frame in CAPTURED:
        if frame.control & 0x80:
            profile = profile_of(frame.device_id, [frame])
            old = frame.control & 0x1F in (0x01, 0x02, 0x04)
            assert profile.dlt645.edition == ("1997" if old else "2007"), frame


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("000000000161", "electricity-161"),
        ("111111111111", "electricity-1111"),
        ("910004360618", "electricity-9100"),
        ("201905241006", "electricity-relay"),
        ("441528063877", "electricity-generic"),
        ("000000000001", "electricity-generic"),
        ("000000063295", "electricity-generic"),
    ],
)
def test_a_number_alone_tells_a_model(number: str, name: str) -> None:
    assert model(number) == name


def test_frames_tell_the_older_edition_and_the_longer_energies() -> None:
    of = {frame.encode(): frame for frame in CAPTURED}
    longer = [frame for frame in of.values() if len(frame.data) == 9 and frame.control == 0x91]
    assert model("000000000001", *longer) == "electricity-energy-tail"
    older = [frame for frame in of.values() if frame.control in (0x81, 0xC1)]
    assert older
    for frame in older:
        assert profile_of(frame.device_id, [frame]).name == "electricity-1997"


def test_every_model_can_be_simulated() -> None:
    for name in ELECTRIC:
        profile = profiles()[name]
        device = next(
            iter(parse_frame(bytes.fromhex(one.hex).lstrip(b"\xfe"))[0] for one in profile.vectors)
        ).device_id
        meter = ElectricityMeter(device, state=MeterState(), profile=profile)
        old = profile.dlt645.edition == "1997"
        for di, reading, shown in (
            (0x9010 if old else 0x00010000, "forward_active_energy", "0.00"),
            (0xB611 if old else 0x02010100, "voltage_a", "230" if old else "230.0"),
            (0xC032 if old else 0x04000402, "meter_number", device[2:].hex()),
        ):
            asked = roles.request(device, Ask(kind="read", di=di), profile)
            answer = meter.handle(asked, NOW, clear=True)
            assert answer is not None
            assert roles.matches(asked, answer, profile).answers
            assert interpret(answer).readings[reading].shown == shown, name


def test_a_model_s_habits_show_in_what_its_meters_answer() -> None:
    device = bytes.fromhex("d700000000000001")
    for name, di, data in (
        ("electricity-generic", 0x00010000, "00000100" + "26000000"),
        ("electricity-energy-tail", 0x00010000, "00000100" + "26000000" + "00"),
        ("electricity-1997", 0x9010, "1090" + "26000000"),
    ):
        profile = profiles()[name]
        asked = roles.request(device, Ask(kind="read", di=di), profile)
        assert roles.ask_of(asked, profile).di == di
        answer = roles.answer(device, asked, {"forward_active_energy": 26}, profile)
        assert answer.data.hex() == data
        assert roles.matches(asked, answer, profile).answers
        assert roles.stated(answer, profile)["forward_active_energy"].register == 26  # type: ignore[union-attr]
        refusal = roles.refuse(device, asked, "no-such-data", profile)
        assert refusal.data == b"\x02"
        assert roles.joined([answer]).data == answer.data
