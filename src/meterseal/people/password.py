"""Optional passwords: what the web process computes from one and what the platform keeps of that.

The platform never sees a password, and the web process cannot sign in for anybody without one.

The web process runs argon2id (RFC 9106) over the password with the account's salt and sends the 32-byte
result, the verifier. The platform stores SM3 of the verifier, so neither its store nor a leaked copy of it
signs in.
"""

from __future__ import annotations

import base64
import binascii

from argon2.low_level import Type, hash_secret_raw
from msgspec import Struct

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import DataError, LocalError

VERIFIER = 32
SALT = 16
SHORTEST = 12
LONGEST = 256
_PURPOSE = b"ms1 password verifier\0"


class Stretch(Struct, frozen=True):
    """Salt and costs of argon2id for one account; the defaults are RFC 9106's second recommendation,
    halved lanes.
    """

    salt: bytes
    passes: int = 3
    memory_kib: int = 65536
    lanes: int = 2


def check_strength(password: str) -> None:
    """Raise LocalError `people.password-short` or `people.password-long`; no rules about kinds of
    characters.
    """
    if len(password) < SHORTEST:
        raise LocalError(
            "people.password-short", f"The password is too short; use at least {SHORTEST} characters."
        )
    if len(password) > LONGEST:
        raise LocalError(
            "people.password-long", f"The password is too long; use at most {LONGEST} characters."
        )


def verifier(password: str, stretch: Stretch) -> bytes:
    """argon2id of a password, 32 bytes; about 0.1 s of work, so never on the event loop."""
    return hash_secret_raw(
        password.encode(),
        stretch.salt,
        time_cost=stretch.passes,
        memory_cost=stretch.memory_kib,
        parallelism=stretch.lanes,
        hash_len=VERIFIER,
        type=Type.ID,
    )


def stored(stretch: Stretch, proof: bytes) -> str:
    """The text the accounts table keeps: costs, salt and SM3 of the verifier. DataError `people.password-
    form`.
    """
    if len(proof) != VERIFIER or len(stretch.salt) != SALT:
        raise _form()
    salt, digest = (base64.b64encode(raw).decode() for raw in (stretch.salt, sm3(_PURPOSE, proof)))
    return f"argon2id+sm3$m={stretch.memory_kib},t={stretch.passes},p={stretch.lanes}${salt}${digest}"


def parse(text: str) -> tuple[Stretch, bytes]:
    """Stretch and digest of a stored text. Raises DataError `people.password-form`."""
    try:
        scheme, costs, salt, digest = text.split("$")
        cost = {name: int(value) for name, value in (item.split("=") for item in costs.split(","))}
        stretch = Stretch(base64.b64decode(salt, validate=True), cost["t"], cost["m"], cost["p"])
        raw = base64.b64decode(digest, validate=True)
    except (ValueError, KeyError, binascii.Error):
        raise _form() from None
    if scheme != "argon2id+sm3":
        raise _form()
    return stretch, raw


def matches(text: str, proof: bytes) -> bool:
    """Whether a verifier belongs to a stored text, in constant time."""
    return equal(parse(text)[1], sm3(_PURPOSE, proof))


def _form() -> DataError:
    return DataError(
        "people.password-form",
        "A stored password has a form this version does not know; set a new one by a link.",
    )
