"""Meter models: each data file holds, and a file that does not is named with its fault."""

from __future__ import annotations

from importlib.resources import files

import pytest

from meterseal.errors import DataError
from meterseal.wire.profile import largest_data, parse_profile, profile_of, profiles

SOURCE = files("meterseal.wire").joinpath("profiles", "water-generic.toml").read_text("utf-8")


def test_the_models_of_the_package() -> None:
    assert set(profiles()) == {"water-generic", "gas-generic", "heat-generic", "electricity-generic"}
    for name, profile in profiles().items():
        assert name == f"{profile.medium}-generic"
        assert profile.vectors


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
    ],
)
def test_a_file_that_does_not_hold_is_refused_with_its_fault(old: str, new: str, why: str) -> None:
    assert old in SOURCE
    with pytest.raises(DataError, match=why) as caught:
        parse_profile(SOURCE.replace(old, new))
    assert caught.value.code == "wire.profile"
