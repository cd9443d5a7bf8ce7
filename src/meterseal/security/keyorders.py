"""What is asked about the life of keys: rotation, states, import, and what still has to move. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.messages import Secret
from meterseal.security.orders import Request


class Rotate(Secret, frozen=True, kw_only=True):
    """A new version of one kind of key (`rotation.KINDS`).

    For `vault-kek`: the passphrase in use, and the one to come (the same, to change the salt alone).
    """

    kind: str
    present: bytes = b""
    coming: bytes = b""


class Rotated(Struct, frozen=True, kw_only=True):
    """The kind, and its newest version (0 for key-encryption keys, which have none)."""

    kind: str
    version: int


class Moving(Struct, frozen=True, kw_only=True):
    """One kind: its newest version, how many items still stand on an older one, of how many.

    `reported_at` is when the platform last counted what only it keeps (Unix ms), None for the service's own.
    `complete` says that nothing more can come to stand on an older version: the count is no lower bound.
    """

    kind: str
    newest: int
    old: int
    total: int
    reported_at: int | None = None
    complete: bool = True


class MovingReply(Struct, frozen=True, kw_only=True):
    """Every kind that moves."""

    items: tuple[Moving, ...]


class KeysDueRequest(Struct, frozen=True, kw_only=True):
    """Which devices have a module on an older DIAK, in order of module ids above `after`."""

    after: bytes = b""
    limit: int = 1000


class KeysDueReply(Struct, frozen=True, kw_only=True):
    """Some of them; ask on after `last` until it is empty. `behind` is how many there are in all."""

    device_ids: tuple[bytes, ...]
    last: bytes
    behind: int


class Wrapped(Struct, frozen=True, kw_only=True):
    """One wrapped key that the platform keeps: a session's (ids in hex as name and purpose) or a data key."""

    kind: str
    purpose: str
    name: str
    wrapped: bytes


class Rewrap(Struct, frozen=True, kw_only=True):
    """Up to 1000 wrapped keys, to be sealed under the newest wrapping key."""

    items: tuple[Wrapped, ...]


class Rewrapped(Struct, frozen=True, kw_only=True):
    """Their new wrapped forms, in order; one that was new enough comes back as it was."""

    wrapped: tuple[bytes, ...]


class WrapCount(Struct, frozen=True, kw_only=True):
    """How many wrapped keys of a kind the platform keeps under one version."""

    kind: str
    version: int
    count: int


class WrapReport(Struct, frozen=True, kw_only=True):
    """All that the platform keeps, counted after it stopped storing anything below the two versions."""

    counts: tuple[WrapCount, ...]
    sessions_from: int = 0
    data_keys_from: int = 0


class TransportPoint(Struct, frozen=True):
    """The SM2 point for envelopes to this service, and its version."""

    point: bytes
    version: int


class ImportKey(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `import-key`: an SM4 key in an SM2 envelope (C1 ‖ C3 ‖ C2) to the transport key; it arrives `new`."""

    key_id: str
    envelope: bytes
    check_value: bytes


class KeyStateChange(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `key-state`: activate, retire, withdraw or destroy one version of one key.

    `despite` says that it shall happen although something still stands on it (a leaked key).
    """

    key_id: str
    version: int
    state: str
    despite: bool = False
