"""What is wrong with an enrolment is said before anything of it is done."""

from __future__ import annotations

import pytest
from msgspec import structs

from meterseal.app.enrolment import check
from meterseal.app.operator import Supply
from meterseal.errors import LocalError
from meterseal.utility.samples import sample_tariffs
from tests.crypto.pki import DEVICE, MODULE, NOW

TARIFFS = {tariff.code: tariff for tariff in sample_tariffs()}
WATER = next(code for code, tariff in TARIFFS.items() if tariff.medium == "water")
POWER = next(code for code, tariff in TARIFFS.items() if tariff.medium == "electricity")
GOOD = Supply(
    device_id=DEVICE,
    medium="water",
    protocol="cjt188",
    profile="x",
    since=NOW,
    suite=1,
    module_id=MODULE,
    tariff=WATER,
)


@pytest.mark.parametrize(
    "change",
    [{}, {"tariff": ""}, {"suite": None, "module_id": b"", "concentrator_id": MODULE}, {"billing_day": 31}],
)
def test_a_good_supply_passes(change: dict[str, object]) -> None:
    check(structs.replace(GOOD, **change), TARIFFS)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"device_id": b""}, "use.device"),
        ({"device_id": DEVICE + b"x"}, "use.device"),
        ({"device_id": b"\x30" + DEVICE[1:]}, "use.device"),
        ({"device_id": b"\xd7" + DEVICE[1:]}, "use.device"),
        ({"medium": "gas", "tariff": ""}, "use.device"),
        ({"module_id": b"short"}, "use.module"),
        ({"suite": None, "module_id": b""}, "use.concentrator"),
        ({"billing_day": 0}, "use.billing-day"),
        ({"billing_day": 32}, "use.billing-day"),
        ({"tariff": "water-typo"}, "use.tariff"),
        ({"tariff": POWER}, "use.tariff"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_was_changed(change: dict[str, object], code: str) -> None:
    with pytest.raises(LocalError) as refused:
        check(structs.replace(GOOD, **change), TARIFFS)
    assert refused.value.code == code
    assert refused.value.message.lower().endswith("nothing was changed.")


def test_a_wrong_tariff_is_answered_with_the_right_ones() -> None:
    with pytest.raises(LocalError, match=WATER):
        check(structs.replace(GOOD, tariff="none-such"), TARIFFS)
