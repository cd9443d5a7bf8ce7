"""Station crypto, proven: device leaves under a CA whose own place was proved, each for the price of one signature.

It refuses nobody and says "yes" or "I cannot tell": what is not a plain yes is for `certificates.verify_chain`, which
asks OpenSSL and knows the reason.

Security argument: an `Authority` is made of a chain that `verify_chain` has let pass with both revocation lists, so
root, CA and lists hold (OpenSSL, strict mode) for as long as none of them ends. A leaf then passes only if it is, byte
for byte and in DER alone, what `issuing.issue_leaf` makes for purpose *device*: version 3, a serial of ours, SM2 with
SM3 named twice alike, the CA's own subject as issuer, two dates, one name of ours, an uncompressed point on the curve,
and exactly six extensions with their criticality: key identifiers (the authority's is the CA's), no CA,
digitalSignature alone, the one usage, one device and one module URI. So no check of OpenSSL's can find what this
misses; there is no room for an extension, a purpose, a constraint or an encoding of another kind. The serial must not
be on the CA's list, the signature must hold over exactly the bytes that were read.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import final

from cryptography import x509
from msgspec import Struct

from meterseal.crypto import sm2
from meterseal.crypto.certificates import LONGEST, Certificate, parse, verify_chain
from meterseal.crypto.verifying import VerifyingKey

SECOND = 1000
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_VERSION_3 = bytes.fromhex("a003020102")
_SM2_WITH_SM3 = bytes.fromhex("300a06082a811ccf55018375")
_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
_SIGNED_BITS = b"\x00"
_SERIAL = re.compile(rb"\x02\x10[\x40-\x7f].{15}", re.DOTALL)
_DATE = re.compile(rb"\x17\x0d(?P<short>[0-9]{12})Z|\x18\x0f(?P<long>[0-9]{14})Z")
_SUBJECT = re.compile(
    rb"1\x120\x10\x06\x03\x55\x04\x0a\x0c\x09meterseal"
    rb"1(?P<set>.)0(?P<pair>.)\x06\x03\x55\x04\x03\x0c(?P<size>.)(?P<name>[ -~]{1,64})",
    re.DOTALL,
)
_EXTENSIONS = re.compile(
    rb"\xa3\x81\xdf0\x81\xdc"
    rb"0\x1d\x06\x03\x55\x1d\x0e\x04\x16\x04\x14(?P<own>.{20})"
    rb"0\x1f\x06\x03\x55\x1d\x23\x04\x180\x16\x80\x14(?P<above>.{20})"
    rb"0\x0c\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x020\x00"
    rb"0\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80"
    rb"0\x23\x06\x03\x55\x1d\x25\x01\x01\xff\x04\x19(?P<usage>.{25})"
    rb"0\x57\x06\x03\x55\x1d\x11\x04\x500\x4e"
    rb"\x86\x25urn:meterseal:device:(?P<device>[0-9a-f]{16})"
    rb"\x86\x25urn:meterseal:module:(?P<module>[0-9a-f]{16})",
    re.DOTALL,
)
_USAGE_DEVICE = bytes.fromhex("301706156983acf8b3c7888ecad5f593fbe69fcede96c40702")
_OF_A_ROOT = {"2.5.29.14", "2.5.29.35", "2.5.29.19", "2.5.29.15"}
_OF_A_CA = _OF_A_ROOT | {"2.5.29.37"}
"""Extensions of ours: nothing in them makes one leaf differ from another."""


class Leaf(Struct, frozen=True, gc=False):
    """What a device's leaf says, as far as a handshake asks. Times are Unix ms; both ends are still valid."""

    serial: int
    point: bytes
    since: int
    until: int
    device_id: bytes
    module_id: bytes

    @classmethod
    def of(cls, read: Certificate) -> Leaf:
        """The same of a certificate that `verify_chain` let pass."""
        return cls(
            read.serial, read.point, read.since, read.until, read.identity("device"), read.identity("module")
        )


@final
class Authority:
    """A device CA that a whole chain was proved under, with the lists that it was proved with."""

    @classmethod
    def proved_by(
        cls, chain: Sequence[bytes], *, root: bytes, at: int, crls: Sequence[bytes]
    ) -> tuple[Authority, Leaf]:
        """The CA of a device chain that `verify_chain` lets pass at `at` (Unix ms), and the chain's leaf.

        `crls` (DER): the root's list, then the CA's. Raises the TrustErrors of `verify_chain`.
        """
        read = verify_chain(chain, root=root, purpose="device", at=at, crls=crls)
        return cls(chain[1], root, crls), Leaf.of(read)

    def __init__(self, ca: bytes, root: bytes, crls: Sequence[bytes]) -> None:
        self.crls = tuple(crls)
        read = [x509.load_der_x509_certificate(one) for one in (ca, root)]
        lists = [x509.load_der_x509_crl(one) for one in crls]
        begins = [one.not_valid_before_utc for one in read] + [one.last_update_utc for one in lists]
        ends = [one.not_valid_after_utc for one in read]
        ends += [one.next_update_utc for one in lists if one.next_update_utc is not None]
        self.since = max(map(_milliseconds, begins)) + SECOND
        self.until = min(map(_milliseconds, ends)) - SECOND
        # Within these (Unix ms) root, CA and lists hold; a second of each end is left to OpenSSL.
        self._plain = all(
            {extension.oid.dotted_string for extension in one.extensions} <= allowed
            for one, allowed in zip(read, (_OF_A_CA, _OF_A_ROOT), strict=True)
        )
        self._subject = read[0].subject.public_bytes()
        self._key_id = parse(ca).key_id
        self._key = _key_of(parse(ca).point)
        self._revoked = frozenset(entry.serial_number for one in lists[1:] for entry in one)

    def holds(self, crls: Sequence[bytes], at: int) -> bool:
        """Whether it was proved with these very lists and stands at `at` (Unix ms)."""
        return self.crls == tuple(crls) and self.since <= at <= self.until

    def leaf(self, der: bytes) -> Leaf | None:
        """The leaf in `der`, if it is one of ours under this CA, not on its list, and rightly signed; else None.

        Its dates are the caller's to compare.
        """
        parts = _certificate(der) if self._plain and len(der) <= LONGEST else None
        if parts is None:
            return None
        signed, signature = parts
        leaf = self._read(signed)
        if leaf is None or leaf.serial in self._revoked or not self._key.verify(signed, signature):
            return None
        return leaf

    def _read(self, signed: bytes) -> Leaf | None:
        fields = _inside(signed, 0x30)
        if fields is None or len(fields) != 8:
            return None
        version, serial, algorithm, issuer, validity, subject, key, extensions = fields
        dates = _inside(validity, 0x30)
        said = _EXTENSIONS.fullmatch(extensions)
        point = key[len(_KEY) :]
        if (
            version != _VERSION_3
            or algorithm != _SM2_WITH_SM3
            or issuer != self._subject
            or subject == issuer
            or not _SERIAL.fullmatch(serial)
            or dates is None
            or len(dates) != 2
            or not _is_ours(subject)
            or said is None
            or said["above"] != self._key_id
            or said["own"] == self._key_id
            or said["usage"] != _USAGE_DEVICE
            or not key.startswith(_KEY)
            or not sm2.on_curve(point)
        ):
            return None
        since, until = _date(dates[0]), _date(dates[1])
        if since is None or until is None:
            return None
        return Leaf(
            int.from_bytes(serial[2:]),
            point,
            since,
            until + SECOND - 1,
            bytes.fromhex(said["device"].decode()),
            bytes.fromhex(said["module"].decode()),
        )


@lru_cache(maxsize=8)
def _key_of(point: bytes) -> VerifyingKey:
    """One for each CA, whatever lists it has: a table of multiples is dear to make and public."""
    return VerifyingKey(point)


def _certificate(der: bytes) -> tuple[bytes, bytes] | None:
    """What is signed, and r ‖ s; None for anything but the DER of a certificate signed by SM2 with SM3."""
    parts = _inside(der, 0x30)
    if parts is None or len(parts) != 3 or parts[1] != _SM2_WITH_SM3 or parts[2][2:3] != _SIGNED_BITS:
        return None
    signature = _inside(parts[2][3:], 0x30) if parts[2][0] == 0x03 else None
    if signature is None or len(signature) != 2 or not all(map(_positive, signature)):
        return None
    r, s = (one[2:].lstrip(b"\x00") for one in signature)
    if len(r) > sm2.SCALAR or len(s) > sm2.SCALAR:
        return None
    return parts[0], r.rjust(sm2.SCALAR, b"\x00") + s.rjust(sm2.SCALAR, b"\x00")


def _positive(integer: bytes) -> bool:
    """Is this the DER of a number above 0 of at most 33 bytes, so of a short length, with no byte too many?"""
    content = integer[2:]
    return (
        integer[0] == 0x02
        and 0 < len(content) <= sm2.SCALAR + 1
        and content[0] < 0x80
        and (content[0] > 0 or (len(content) > 1 and content[1] >= 0x80))
    )


def _is_ours(subject: bytes) -> bool:
    """Is this the DER of the two attributes that we issue: our organisation, then a common name in ASCII?"""
    inside = _content(subject, 0x30)
    said = None if inside is None else _SUBJECT.fullmatch(inside)
    if said is None:
        return False
    size = len(said["name"])
    return (said["size"][0], said["pair"][0], said["set"][0]) == (size, size + 7, size + 9)


def _date(encoded: bytes) -> int | None:
    """Unix ms of a UTCTime (from 1950 to 2049) or of a GeneralizedTime (from 2050)."""
    said = _DATE.fullmatch(encoded)
    if said is None or (said["long"] is not None and said["long"] < b"2050"):
        return None
    digits = said["long"] or (b"19" if said["short"] >= b"50" else b"20") + said["short"]
    hour, minute, second = (int(digits[at : at + 2]) for at in (8, 10, 12))
    if hour > 23 or minute > 59 or second > 59:
        return None
    try:
        day = datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal() - _EPOCH
    except ValueError:
        return None
    return ((day * 24 + hour) * 60 + minute) * 60 * SECOND + second * SECOND


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * SECOND


def _inside(encoded: bytes, tag: int) -> list[bytes] | None:
    """The elements, whole, inside the one of this tag that `encoded` is; None where anything is not DER."""
    content = _content(encoded, tag)
    parts: list[bytes] = []
    while content:
        size = _size(content)
        if size is None:
            return None
        parts.append(content[:size])
        content = content[size:]
    return None if content is None else parts


def _content(encoded: bytes, tag: int) -> bytes | None:
    """What is inside the element of this tag, if `encoded` is exactly one."""
    if encoded[:1] != bytes((tag,)) or _size(encoded) != len(encoded):
        return None
    length = encoded[1]
    return encoded[2 if length < 0x80 else 2 + (length & 0x7F) :]


def _size(encoded: bytes) -> int | None:
    """Bytes of the element that `encoded` begins with, its length in the shortest form; None where it is not there."""
    if len(encoded) < 2 or encoded[0] & 0x1F == 0x1F:
        return None
    length = encoded[1]
    if length < 0x80:
        size = 2 + length
    elif length == 0x81 and len(encoded) > 2 and encoded[2] >= 0x80:
        size = 3 + encoded[2]
    elif length == 0x82 and len(encoded) > 3 and encoded[2] > 0:
        size = 4 + int.from_bytes(encoded[2:4])
    else:
        return None
    return size if size <= len(encoded) else None
