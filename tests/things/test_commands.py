"""Nobody opens a gas valve from afar, in whatever form the command is written (DESIGN promise 4, HM 7.2.11)."""

from __future__ import annotations

import pytest

from meterseal.errors import LocalError
from meterseal.model import Medium
from meterseal.things.commands import Act, check
from meterseal.wire.frame import Frame

GAS = bytes.fromhex("3078338820260006")
WATER = bytes.fromhex("1078338820260001")


def frame(device_id: bytes, control: int, content: str) -> bytes:
    return Frame("cjt188", device_id[0], device_id[:0:-1], control, bytes.fromhex(content)).encode()


PERMIT, SHUT = frame(GAS, 0x04, "17A00055"), frame(GAS, 0x04, "17A00099")


def test_permitting_and_closing_in_their_known_form_pass() -> None:
    assert check(GAS, "gas", PERMIT, "valve-permit").control == 0x04
    assert check(GAS, "gas", SHUT, "valve-close").control == 0x04
    assert check(GAS, "gas", frame(GAS, 0x04, "10A000010203"), "write").control == 0x04


@pytest.mark.parametrize("medium", ["gas", "water"])
@pytest.mark.parametrize("control", [0x04, 0x24, 0x44, 0x14, 0x05, 0x06, 0x0A, 0x15])
@pytest.mark.parametrize("content", ["17A0005500", "17A00055", "A0170055", "17A0", "17A00011"])
@pytest.mark.parametrize("claimed", ["write", "valve-open"])
def test_no_other_form_of_a_valve_command_goes_to_a_gas_meter(
    medium: Medium, control: int, content: str, claimed: Act
) -> None:
    known = control == 0x04 and content in (
        "17A00055",
        "A0170055",
    )  # the permission, claimed to be something else
    with pytest.raises(LocalError) as refused:
        check(GAS, medium, frame(GAS, control, content), claimed)
    assert refused.value.code == ("command.act" if known and claimed == "write" else "command.gas-valve")


def test_a_water_meter_takes_them_as_what_they_are() -> None:
    assert check(WATER, "water", frame(WATER, 0x04, "17A00055"), "valve-open").control == 0x04
    assert check(WATER, "water", frame(WATER, 0x24, "17A00055"), "write").control == 0x24


def test_no_relay_command_goes_to_what_is_enrolled_as_gas() -> None:
    device = bytes.fromhex("d700003120260004")
    relay = Frame("dlt645", 0, device[:1:-1], 0x1C, bytes(8) + b"\x1c" + bytes(7)).encode()
    assert check(device, "electricity", relay, "relay-close").control == 0x1C
    for claimed in ("relay-close", "write"):
        with pytest.raises(LocalError) as refused:
            check(device, "gas", relay, claimed)
        assert refused.value.code == "command.gas-valve"
