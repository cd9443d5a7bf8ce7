"""The one error tree, beside every station of the path; leaves live where they are raised.

It holds no wording: sentences are written where the fault is found, and the edge translates by code.

    MetersealError          code, sentence, facts; never carries key or plaintext bytes
    ├─ LocalError           we, or the person at the keyboard, asked for something illegal
    ├─ PeerError            bytes from outside are wrong (framing, checksum, field)
    ├─ TrustError           seal broken, replay, unknown identity, key not usable
    ├─ DataError            a reading, a table or a document breaks a stated rule
    ├─ ConsentError         the asker may not see or do this
    └─ EngineError          a store, bus, key service or network failed behind its port (retryable)

"Incomplete" is not an error: readers return None and wait for more bytes.
"""

from __future__ import annotations

from typing import ClassVar


class MetersealError(Exception):
    """Base of every error that this system raises on purpose; itself never raised.

    `code` is stable and dotted (`wire.checksum`). `message` is one sentence for a person: what happened,
    why, what to do. `facts` are small public values (lengths, ids, counters), never secrets.
    """

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, code: str, message: str, /, **facts: str | int | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r})"


class LocalError(MetersealError):
    """We, or the person at the keyboard, asked for something illegal."""

    kind = "local"


class PeerError(MetersealError):
    """Bytes from outside are wrong."""

    kind = "peer"


class TrustError(MetersealError):
    """A seal, an identity, a certificate or a counter does not hold."""

    kind = "trust"


class DataError(MetersealError):
    """A reading, a table or a document breaks a stated rule."""

    kind = "data"


class ConsentError(MetersealError):
    """The asker may not see or do this."""

    kind = "consent"


class EngineError(MetersealError):
    """Something behind a port failed; trying again later may help."""

    kind = "engine"
    retryable = True


KINDS: dict[str, type[MetersealError]] = {
    cls.kind: cls for cls in (LocalError, PeerError, TrustError, DataError, ConsentError, EngineError)
}


def from_wire(kind: str, code: str, message: str) -> MetersealError:
    """Rebuild an error that crossed a link between processes; an unknown kind is an EngineError."""
    return KINDS.get(kind, EngineError)(code, message)
