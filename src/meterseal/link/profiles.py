"""Station link, profiles: what the standards leave open about sealed data fields, as data (DESIGN section 9).

It seals nothing. A profile says how a data field is padded, what of it is encrypted, where the IV comes
from, how long a tag is and how large a field may be; the choices themselves are few, named and here. `OURS`
is LINK section 4 and the default everywhere. The text of CJ/T 188-2018 clause 7 is not public: when it is,
its profile is one more file, if its choices are among these.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from meterseal.crypto.symmetric import BLOCK, pad80, sm4_ecb, unpad80
from meterseal.errors import LocalError, TrustError
from meterseal.wire.frame import Protocol

Padding = Literal["80", "length", "pkcs7"]
Iv = Literal["counter", "zero"]
Scope = Literal["field", "payload"]
Sizes = dict[tuple[Protocol, bool], int]
"""Most bytes of one data field, by protocol and up."""

_LONGEST: Sizes = {("cjt188", True): 100, ("cjt188", False): 50, ("dlt645", True): 200, ("dlt645", False): 50}
"""L as the editions allow it."""
TAG = 16
"""Bytes of a tag: the format's own field, of which version 1 knows this one value."""
_CLEAR: dict[Protocol, int] = {"cjt188": 3, "dlt645": 4}
"""Bytes of DI and SER, or of DI: what stays in clear where only the payload is encrypted."""


class SecurityProfile(NamedTuple):
    """One profile, its choices turned into functions.

    `pad` and `unpad` work on whole fields (`unpad` raises TrustError for what `pad` never makes), `ivs` gives
    IV_0 … for (key, counter, count), 16 bytes each. `clear` is how many bytes at the start of a data field
    stay as they are.
    """

    name: str
    title: str
    basis: str
    pad: Callable[[bytes], bytes]
    unpad: Callable[[bytes], bytes]
    ivs: Callable[[bytes, int, int], bytes]
    fresh: bool
    """Equal data look different each time."""
    clear: dict[Protocol, int]
    whole: bool
    """Nothing of a data field stays in clear."""
    tag: int
    cipher: Sizes
    plain: Sizes


class _Ways(Struct, frozen=True, forbid_unknown_fields=True):
    up: int
    down: int


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str
    basis: str
    padding: Padding
    iv: Iv
    scope: Scope
    tag: int
    cipher: dict[Protocol, _Ways]
    plain: dict[Protocol, _Ways]


def read(text: str) -> SecurityProfile:
    """The profile of a TOML file. Raises LocalError `link.profile` for what no profile may say."""
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise LocalError(
            "link.profile", f"The security profile does not read ({error}); mend the file."
        ) from None
    pad, unpad = _PADDINGS[file.padding]
    clear: dict[Protocol, int] = {"cjt188": 0, "dlt645": 0} if file.scope == "field" else _CLEAR
    profile = SecurityProfile(
        name=file.name,
        title=file.title,
        basis=file.basis,
        pad=pad,
        unpad=unpad,
        ivs=_IVS[file.iv],
        fresh=file.iv == "counter",
        clear=clear,
        whole=file.scope == "field",
        tag=file.tag,
        cipher=_sizes(file.cipher),
        plain=_sizes(file.plain),
    )
    _check(profile)
    return profile


@cache
def load(name: str) -> SecurityProfile:
    """The shipped profile of this name. Raises LocalError `link.profile` for one that there is not."""
    if name not in names():
        raise LocalError(
            "link.profile", f"No security profile {name} is known; there are: {', '.join(names())}."
        )
    return read(_FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8"))


@cache
def names() -> tuple[str, ...]:
    """Names of the shipped profiles."""
    return tuple(sorted(one.name[:-5] for one in _FOLDER.iterdir() if one.name.endswith(".toml")))


def _sizes(table: dict[Protocol, _Ways]) -> Sizes:
    return {
        (protocol, up): ways.up if up else ways.down
        for protocol, ways in table.items()
        for up in (True, False)
    }


def _check(profile: SecurityProfile) -> None:
    if profile.tag != TAG:
        raise LocalError(
            "link.profile",
            f"A tag of link version 1 has {TAG} bytes, not {profile.tag}: lengths are looked at before the session and "
            "its profile are known. Mend the profile.",
        )
    for (protocol, up), most in _LONGEST.items():
        cipher, plain = profile.cipher.get((protocol, up), 0), profile.plain.get((protocol, up), 0)
        if not 0 < plain <= most or not 0 < cipher <= most or cipher % BLOCK:
            raise LocalError(
                "link.profile",
                f"{protocol} allows {most} bytes {'up' if up else 'down'}: plain fields need a size in that, cipher "
                "fields one in whole blocks; mend the profile.",
            )
        if cipher + profile.clear[protocol] > most:
            raise LocalError(
                "link.profile",
                f"{protocol} has no room for {cipher} cipher bytes behind DI and SER; mend the profile.",
            )


# --- the choices --------------------------------------------------------------------------------------------


def _counter_ivs(key: bytes, counter: int, count: int) -> bytes:
    lead = counter.to_bytes(6, "big")
    return sm4_ecb(key, b"".join([lead + at.to_bytes(2, "big") + bytes(8) for at in range(count)]))


def _zero_ivs(key: bytes, counter: int, count: int) -> bytes:
    return bytes(BLOCK * count)


def _pad_length(plain: bytes) -> bytes:
    """Length byte ‖ data, then 80 00… unless the blocks are full already."""
    whole = bytes((len(plain),)) + plain
    return whole if len(whole) % BLOCK == 0 else pad80(whole)


def _unpad_length(padded: bytes) -> bytes:
    if not padded or _pad_length(plain := padded[1 : 1 + padded[0]]) != padded:
        raise _no_padding()
    return plain


def _pad_pkcs7(plain: bytes) -> bytes:
    size = BLOCK - len(plain) % BLOCK
    return plain + bytes((size,)) * size


def _unpad_pkcs7(padded: bytes) -> bytes:
    size = padded[-1] if padded else 0
    if not 0 < size <= BLOCK or len(padded) % BLOCK or padded[-size:] != bytes((size,)) * size:
        raise _no_padding()
    return padded[:-size]


def _no_padding() -> TrustError:
    return TrustError("crypto.padding", "The padding is not that of the profile; the bytes are refused.")


_PADDINGS: dict[Padding, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "80": (pad80, unpad80),
    "length": (_pad_length, _unpad_length),
    "pkcs7": (_pad_pkcs7, _unpad_pkcs7),
}
_IVS: dict[Iv, Callable[[bytes, int, int], bytes]] = {"counter": _counter_ivs, "zero": _zero_ivs}
_FOLDER = files("meterseal.link").joinpath("profile_data")

OURS = load("meterseal-1")
"""LINK section 4; what is meant wherever no profile is named."""
