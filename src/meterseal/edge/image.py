"""Station edge, inside the module: what it remembers, as frozen structs, and the bytes that these are in a page.

It writes nothing (`nv` does) and decides nothing; `chipmemory` holds the state while the power is on.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from meterseal.errors import TrustError
from meterseal.link.profiles import OURS

STATE_FORMAT = 4


class SessionState(Struct, frozen=True, array_like=True):
    """One session: traffic keys, limits, and how far its counters went.

    Up counters below `up_reserved` may have been used; after a power cut the next is `up_reserved`. Down
    counters up to `down_last` are refused.
    """

    session_id: bytes
    keys: bytes
    policy: int
    records_allowed: int
    ends_at: int
    up_reserved: int = 1
    down_last: int = 0
    key_version: int = 0
    certificate_until: int = 0
    """End of the platform's certificate, past which no clock is set; 0 under suite 2."""


class ChannelState(Struct, frozen=True, array_like=True):
    """Evidence of one channel: last sequence, the chain's head and the end_at that it reached."""

    sequence: int = 0
    head: bytes = bytes(32)
    end_at: int = 0


class State(Struct, frozen=True, array_like=True):
    """Everything about a module that survives a power cut, the certificates and kept evidence apart.

    `life` is 0 factory, 1 personalised, 2 active (it has had a session), 4 destroyed; a lock stands in the
    card's page (`cardmemory`). `bound_keys` are K_b by version.
    """

    serial: bytes
    life: int = 0
    private: bytes = b""
    device_id: bytes = b""
    suite: int = 0
    project_id: bytes = b""
    key_version: int = 0
    bound_keys: dict[int, bytes] = {}
    module_root: bytes = b""
    time_bound: int = 0
    command_number: int = 0
    command_authorisation: bytes = b""
    command_answer: bytes = b""
    channels: dict[int, ChannelState] = {}
    current: SessionState | None = None
    previous: SessionState | None = None
    format: int = STATE_FORMAT
    profile: str = OURS.name
    gathered: bool = True
    """Installed behind a concentrator. A state of format 3 does not say so and was made for one."""


class Trust(Struct, frozen=True, array_like=True):
    """The root certificate (DER) and the module's own chain, leaf first; empty under suite 2."""

    root: bytes
    chain: tuple[bytes, ...]


class KeptEvidence(Struct, frozen=True, array_like=True):
    """A signed statement (65 bytes) and its signature or mac, kept until its record was acknowledged."""

    statement: bytes
    signature: bytes


_STATE = msgspec.msgpack.Decoder(State)
_ENCODE = msgspec.msgpack.Encoder().encode


def state_to_bytes(state: State) -> bytes:
    """The image of a state."""
    return _ENCODE(state)


def state_from_bytes(image: bytes) -> State:
    """The state of an image. TrustError `module.image` when it is none, or of a newer format."""
    try:
        state = _STATE.decode(image)
    except msgspec.MsgspecError:
        raise TrustError(
            "module.image", "The module's memory holds no state that this version reads."
        ) from None
    if state.format > STATE_FORMAT:
        raise TrustError(
            "module.image", "The module's memory was written by a newer version; install that one."
        )
    return state
