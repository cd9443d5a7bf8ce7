"""Faults at the edges of crypto that the other tests let through, each shown here."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.crypto import names, verifying
from meterseal.crypto._libcrypto import lib
from meterseal.crypto.sm2 import ORDER, Sm2PrivateKey
from meterseal.crypto.verifying import VerifyingKey

# --- names --------------------------------------------------------------------------------------------------


def test_the_name_of_a_process_is_read_back_and_no_other_word_is_one() -> None:
    assert names.uri("process", b"headend") == "urn:meterseal:process:headend"
    assert names.identity_of("urn:meterseal:process:headend") == ("process", b"headend")
    for other in ("Headend", "", "a" * 17, "head-end", "head1"):
        assert names.identity_of(f"urn:meterseal:process:{other}") is None
    assert names.PLATFORM_LIFETIME == 30 * 24 * 60 * 60 * 1000


# --- verifying: sums whose outcome is chosen, which no hash lets anybody choose -------------------------------

SCALAR = 0x1234567


def judged(monkeypatch: pytest.MonkeyPatch, r: int, s: int, x: int | None = None) -> bool:
    """What the table says of r ‖ s over a message whose hash fits them: only the checks of ranges can refuse."""
    total = (s + (r + s) * SCALAR) % ORDER
    if x is None:
        x = int.from_bytes(Sm2PrivateKey.from_scalar(total.to_bytes(32)).public_point[1:33])
    key = VerifyingKey(Sm2PrivateKey.from_scalar(SCALAR.to_bytes(32)).public_point)
    key._asked = verifying._WORTH
    monkeypatch.setattr(verifying, "sm3", lambda *_: ((r - x) % ORDER).to_bytes(32))
    return key.verify(b"", r.to_bytes(32) + s.to_bytes(32))


@pytest.mark.parametrize(("r", "s"), [(1, 1), (1, 77), (ORDER - 1, 5), (5, ORDER - 1), (2**200, 3)])
def test_the_least_and_the_greatest_r_and_s_are_numbers_of_a_signature(
    monkeypatch: pytest.MonkeyPatch, r: int, s: int
) -> None:
    assert judged(monkeypatch, r, s)


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 5), (5, 0), (ORDER, 5), (5, ORDER), (7, ORDER - 7), (ORDER + 3, 5), (5, ORDER + 3)],
    ids=["r 0", "s 0", "r n", "s n", "r + s is n", "r over n", "s over n"],
)
def test_r_and_s_out_of_range_are_refused_though_the_equation_holds(
    monkeypatch: pytest.MonkeyPatch, r: int, s: int
) -> None:
    assert not judged(monkeypatch, r, s)


def test_a_sum_at_infinity_is_refused_though_its_missing_x_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who holds the private key can make s·G + t·P vanish; such an r ‖ s holds over nothing all the same."""
    t = 99
    s = -t * SCALAR % ORDER
    assert not judged(monkeypatch, (t - s) % ORDER, s, x=0)


def test_the_table_of_a_key_gives_its_points_back(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = 0

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def EC_POINT_free(self, point: Any) -> None:  # as libcrypto calls it
            nonlocal freed
            freed += 1
            lib.EC_POINT_free(point)

    table = verifying._Multiples(Sm2PrivateKey.from_scalar(SCALAR.to_bytes(32)).public_point)
    monkeypatch.setattr(verifying, "lib", Counting())
    del table
    assert freed == 32 * 255
