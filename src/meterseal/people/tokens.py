"""Bearer tokens of people: 256 random bits that only their holder has, and the hash that is stored instead.

It stores nothing and knows no account; `accounts` does.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from meterseal.crypto.symmetric import sm3

LENGTH = 32
LINK = b"ms1 sign-in link"
SESSION = b"ms1 web session"
BROKEN = b"\0" * LENGTH
"""Stands for a token of the wrong form: hashed like any other, so a malformed one takes the same path."""


def new_token() -> str:
    """A fresh token: 43 characters of base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(LENGTH)).rstrip(b"=").decode()


def token_hash(purpose: bytes, token: str) -> bytes:
    """SM3(purpose || 00 || token bytes), 32 bytes: a link's hash never fits a session, and a leaked table
    opens nothing.

    256 random bits need no salt and no slow hash.
    """
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = BROKEN
    if len(raw) != LENGTH:
        raw = BROKEN
    return sm3(purpose, b"\0", raw)
