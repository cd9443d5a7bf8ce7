"""The bytes of the mesh: frames of a 4-byte length and one msgpack message, at most 16 MiB.

It opens no connection and runs no call.
"""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Struct

from meterseal.errors import LocalError, PeerError
from meterseal.mesh.method import Failure, pack

LARGEST = 16 * 1024 * 1024
"""Largest message in bytes; a length above it ends the connection before anything is read."""


class Request(Struct, frozen=True, array_like=True):
    """One call: number chosen by the caller, method name, packed request."""

    number: int
    method: str
    body: msgspec.Raw


class Answer(Struct, frozen=True, array_like=True):
    """The answer to call `number`: a packed struct, or a Failure and a packed nil."""

    number: int
    failure: Failure | None
    body: msgspec.Raw


def frame(message: Request | Answer) -> bytes:
    """Length and bytes of a message; LocalError `mesh.too-large` above the limit."""
    body = pack(message)
    if len(body) > LARGEST:
        raise LocalError(
            "mesh.too-large",
            f"A message of {len(body)} bytes is above the limit of {LARGEST} between processes; ask for "
            "less at once.",
        )
    return len(body).to_bytes(4) + body


async def read_frame(
    reader: asyncio.StreamReader, within: float | None = 30.0, largest: int = LARGEST
) -> bytes | None:
    """The next message of at most `largest` bytes, None at a clean end.

    Waits for a message without limit, but for the rest of one that has begun at most `within` seconds.
    PeerError `mesh.frame` for a length of 0 or above the limit, and for a message that stops in the middle.
    """
    head = await reader.read(1)
    if not head:
        return None
    try:
        async with asyncio.timeout(within):
            length = int.from_bytes(head + await reader.readexactly(3))
            if not 0 < length <= largest:
                raise PeerError(
                    "mesh.frame", "A message between processes has an impossible length; the link ends."
                )
            return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, TimeoutError):
        raise PeerError(
            "mesh.frame", "A message between processes stopped in the middle; the link ends."
        ) from None
