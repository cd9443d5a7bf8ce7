"""What an attacker on the wire can make of the messages it has seen, without any key: the swaps of the search.

Fields of one message exchanged for those of another, for zeros, and one message passed off as another kind.
Lengths follow, so that nothing is refused for its shape alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from meterseal.link import messages

_PLATFORM = (("suite", 1), ("session_id", 8), ("N_p", 32), ("key version", 1))


def split(message: bytes) -> list[tuple[str, bytes]]:
    """The fields of a handshake message's body, by name."""
    kind, body = message[3], message[messages.HEADER :]
    if kind == messages.HELLO:
        names = [("suite", 1), ("device_id", 8), ("module_id", 8), ("key version", 1), ("N_d", 32)]
        names += [("E_d", 65)] if body[0] == 1 else []
        return _cut(body, [*names, ("mac", 16), ("cookie", len(body))])
    if kind == messages.PLATFORM:
        if body[0] != 1:
            return _cut(body, [*_PLATFORM, ("fin_p", 32)])
        middle = len(body) - 42 - 65 - 64 - 32
        return _cut(body, [*_PLATFORM, ("E_p", 65), ("chain", middle), ("signature", 64), ("fin_p", 32)])
    if kind in (messages.DEVICE, messages.SESSION):
        return _cut(body, [("session_id", 8), ("ciphertext", len(body) - 24), ("tag", 16)])
    return [("cookie", body)]


def _cut(body: bytes, sizes: list[tuple[str, int]]) -> list[tuple[str, bytes]]:
    found, at = [], 0
    for name, size in sizes:
        found.append((name, body[at : at + size]))
        at += size
    return found


def joined(kind: int, parts: list[tuple[str, bytes]]) -> bytes:
    """The message of these fields, its length as they make it."""
    body = b"".join(value for _, value in parts)
    return messages.MAGIC + bytes((kind,)) + len(body).to_bytes(2, "big") + body


def alone(message: bytes) -> Iterator[tuple[str, bytes]]:
    """What can be made of one message: each field in zeros, and every other kind."""
    kind, parts = message[3], split(message)
    for at, (name, value) in enumerate(parts):
        if any(value):
            changed = [*parts[:at], (name, bytes(len(value))), *parts[at + 1 :]]
            yield f"{name} in zeros", joined(kind, changed)
    for other in messages.KINDS:
        if other != kind:
            yield f"passed off as {messages.KINDS[other]}", message[:3] + bytes((other,)) + message[4:]


def mixed(message: bytes, other: bytes, at_once: int) -> Iterator[tuple[str, bytes]]:
    """`message` with up to `at_once` fields of `other`, a message of the same kind."""
    if message[3] != other[3]:
        return
    ours, theirs = split(message), split(other)
    differing = [
        at
        for at in range(min(len(ours), len(theirs)))
        if ours[at] != theirs[at] and ours[at][0] == theirs[at][0]
    ]
    for count in range(1, min(at_once, len(differing) - 1) + 1):
        for chosen in combinations(differing, count):
            parts = [theirs[at] if at in chosen else ours[at] for at in range(len(ours))]
            yield " and ".join(ours[at][0] for at in chosen) + " of", joined(message[3], parts)
