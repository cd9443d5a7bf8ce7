"""The last step of a verification, r = e + x mod n, asked without a division: chosen points, where x is nearly anything."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.crypto import _libcrypto, sm2
from meterseal.crypto._libcrypto import GROUP, NULL, lib
from meterseal.crypto.sm2 import FIELD, ORDER
from tests.crypto import reference


def with_x(x: int) -> reference.Point:
    """A point with this x, or None where the curve has none."""
    square = (x**3 + reference.A * x + reference.B) % FIELD
    y = pow(square, (FIELD + 1) // 4, FIELD)
    return (x, y) if y * y % FIELD == square else None


def near(x: int, step: int) -> tuple[int, int]:
    """The nearest point in that direction."""
    while (found := with_x(x)) is None:
        x += step
    return found


def as_sum(point: tuple[int, int], *, plain: bool = False) -> Any:
    """The library's point: as it is read (Z = 1), or as the sum of others, whose Z is any number."""
    whole = sm2._foreign_point(reference.encoded(point))
    if plain:
        return whole
    base = lib.EC_GROUP_get0_generator(GROUP)
    less = sm2._foreign_point(
        reference.encoded(reference.add(point, (reference.G[0], -reference.G[1] % FIELD)))
    )
    assert lib.EC_POINT_add(GROUP, whole, less, base, NULL) == 1
    return whole


POINTS = {
    "any": reference.times(77, reference.G),
    "the first": near(0, 1),
    "the last below n": near(ORDER - 1, -1),
    "the first from n up": near(ORDER, 1),
    "the last below p": near(FIELD - 1, -1),
}


class _Old:
    """A library without the function that shows how it keeps a point."""

    def __getattr__(self, name: str) -> Any:
        if name == "EC_POINT_get_Jprojective_coordinates_GFp":
            raise AttributeError(name)
        return getattr(_libcrypto.lib, name)


@pytest.mark.parametrize("plain", [False, True], ids=["a sum", "as it was read"])
@pytest.mark.parametrize("library", ["this one", "one that hides how it keeps a point"])
@pytest.mark.parametrize("name", POINTS)
def test_r_is_the_hash_and_the_x_of_the_sum_and_nothing_else(
    name: str, library: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library != "this one":
        monkeypatch.setattr(sm2, "lib", _Old())
    point = POINTS[name]
    assert point is not None
    total = as_sum(point, plain=plain)
    for e in (0, 1, ORDER - 1, ORDER, 2**256 - 1, 2**200 + 5):
        r = (e + point[0]) % ORDER
        assert sm2.holds(total, r, e.to_bytes(32))
        for other in {one % ORDER for one in (r + 1, r - 1, r + FIELD, r - FIELD, -r)} - {r}:
            assert not sm2.holds(total, other, e.to_bytes(32))


def test_an_x_of_0_is_not_taken_for_the_prime() -> None:
    """p is 0 in the field, and p - n of the group would be asked for as n more."""
    point = with_x(0)
    assert point is not None
    for plain in (False, True):
        total = as_sum(point, plain=plain)
        assert sm2.holds(total, 5, (5).to_bytes(32))
        assert not sm2.holds(total, (5 + FIELD - ORDER) % ORDER, (5).to_bytes(32))


def test_the_library_keeps_sums_with_a_z_of_their_own() -> None:
    """Else the tests above would show only half."""
    point = POINTS["any"]
    assert point is not None
    above, z = sm2._projective(as_sum(point))
    assert z != 1
    assert above * pow(z, -2, FIELD) % FIELD == point[0]
    assert sm2._projective(as_sum(point, plain=True)) == (point[0], 1)


def test_a_point_at_infinity_has_no_x() -> None:
    total = sm2._foreign_point(reference.encoded(reference.G))
    assert lib.EC_POINT_set_to_infinity(GROUP, total) == 1
    new = _libcrypto.owned(
        lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point"
    )  # X and Z are 0: all would hold
    for nowhere in (total, new):
        assert not any(sm2.holds(nowhere, r, bytes(32)) for r in range(3))
