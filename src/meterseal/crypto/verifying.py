"""Station crypto, verifying: a public key on curve SM2 that very many signatures are checked against, as a CA's.

It holds no secret, so nothing here needs a constant time, and it decides nothing about whose key it is.

Security argument: `VerifyingKey.verify` says what `sm2.verify` says. It asks the same equation of GB/T 32918.2
section 7 (t = r + s mod n, not 0; R = e + x(s·G + t·P) mod n; R = r) about the points of libcrypto; its own part is
only which multiples are added. Both G and P are the same each time, so their multiples d · 256^k for every byte d are
kept, and s·G + t·P is a sum of 64 of them instead of 256 doublings. `EC_POINT_add` is complete: it doubles equal
points and adds opposite ones to infinity, which has no x and is refused.
"""

from __future__ import annotations

from typing import Any, final

from meterseal.crypto import sm2
from meterseal.crypto._libcrypto import GROUP, NULL, failed, ffi, lib, need, owned
from meterseal.crypto.sm2 import POINT, SIGNER_ID
from meterseal.crypto.symmetric import sm3
from meterseal.errors import TrustError

_BYTES, _DIGITS = 32, 255
_WORTH = 64
"""Signatures after which a table pays for itself: it costs about 100 verifications and saves two thirds of each."""

_generator: _Multiples | None = None


class _Multiples:
    """d · 256^k · P for every byte d but 0 and 0 <= k < 32, at place 255 k + d - 1."""

    def __init__(self, point: bytes) -> None:
        # One block of pointers: Python's own collector need not walk through 8160 objects again and again.
        self._points = points = ffi.new("EC_POINT *[]", _BYTES * _DIGITS)
        self._owner = ffi.gc(points, _freed)  # frees the points with the last reference to this table
        context = owned(lib.BN_CTX_new(), lib.BN_CTX_free, "make a context")
        base = _decoded(point)
        for place in range(len(points)):
            points[place] = need(lib.EC_POINT_new(GROUP), "make a point")
            if place % _DIGITS:
                need(lib.EC_POINT_add(GROUP, points[place], points[place - 1], base, context), "add points")
            else:
                if place:  # 255 times the base of the row before, and once more
                    need(lib.EC_POINT_add(GROUP, base, points[place - 1], base, context), "add points")
                need(lib.EC_POINT_copy(points[place], base), "copy a point")
        self._affine(context)

    def _affine(self, context: Any) -> None:
        """Give every point the coordinate Z = 1, which makes adding it a third cheaper."""
        try:
            convert = lib.EC_POINTs_make_affine
        except AttributeError:
            return  # deprecated since OpenSSL 3.0; without it the sums are the same and cost more
        need(convert(GROUP, len(self._points), self._points, context), "convert points")

    def add(self, to: Any, scalar: int, context: Any) -> None:
        """Add scalar · P to the point `to`."""
        add, points = lib.EC_POINT_add, self._points
        place = -1
        for digit in scalar.to_bytes(_BYTES, "little"):
            if digit and add(GROUP, to, to, points[place + digit], context) != 1:
                raise failed("verify")
            place += _DIGITS


@final
class VerifyingKey:
    """The public key of a 65-byte point. Raises TrustError `crypto.point` for one that is not on the curve."""

    def __init__(self, point: bytes, signer_id: bytes = SIGNER_ID) -> None:
        if not sm2.on_curve(point):
            raise TrustError("crypto.point", "The public point is not on curve SM2; the message is refused.")
        self._point, self._signer_id = point, signer_id
        self._z = sm2.identity_digest(point, signer_id)
        self._asked = 0
        self._multiples: _Multiples | None = None

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Is `signature` (r ‖ s) one over `message` by this key? As `sm2.verify`, at a third of its price once
        the key has been asked often.
        """
        self._asked += 1
        if self._asked <= _WORTH:
            return sm2.verify(self._point, message, signature, self._signer_id)
        if self._multiples is None:
            self._multiples = _Multiples(self._point)
        return self._holds(self._multiples, message, signature)

    def _holds(self, multiples: _Multiples, message: bytes, signature: bytes) -> bool:
        numbers = sm2.signed_numbers(signature)
        if numbers is None:
            return False
        r, s, t = numbers
        context = owned(lib.BN_CTX_new(), lib.BN_CTX_free, "make a context")
        total = owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
        need(lib.EC_POINT_set_to_infinity(GROUP, total), "make a point")
        _of_generator().add(total, s, context)
        multiples.add(total, t, context)
        return sm2.holds(total, r, sm3(self._z, message))


def _of_generator() -> _Multiples:
    global _generator  # one table for the process: the base point is the same for every key
    if _generator is None:
        _generator = _Multiples(_base_point())
    return _generator


def _base_point() -> bytes:
    return _encoded(lib.EC_GROUP_get0_generator(GROUP))


def _freed(points: Any) -> None:
    for point in points:
        lib.EC_POINT_free(point)


def _encoded(point: Any) -> bytes:
    buffer = ffi.new("unsigned char[65]")
    need(lib.EC_POINT_point2oct(GROUP, point, 4, buffer, POINT, NULL), "encode a point")
    return bytes(ffi.buffer(buffer, POINT))


def _decoded(point: bytes) -> Any:
    made = owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
    need(lib.EC_POINT_oct2point(GROUP, made, point, POINT, NULL), "decode a point")
    return made
