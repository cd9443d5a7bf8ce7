"""What a process offers on the mesh: a table of methods, each with the callers it admits.

It moves no bytes between processes; `server` and `client` do, and both ends agree on what is written here.

A caller is admitted to a method only when its name stands in that method's `callers`, or `GROUP:*` does for a
caller `GROUP:NAME`; everything else is refused with one answer, so a caller learns nothing about methods that are
not for it (HM 8.4.3, X 10.1).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct

from meterseal.errors import ConsentError, EngineError, MetersealError, PeerError, from_wire
from meterseal.mesh.bounds import within

T = TypeVar("T", bound=Struct)


class Rpc(Protocol):
    """The way to another process."""

    async def call(self, method: str, request: Struct, reply: type[T]) -> T:
        """Answer of `method`; raises the MetersealError that the other side raised, or EngineError."""


class Method(NamedTuple):
    """One method of a process: its handler (caller name, request), request type and admitted callers."""

    handler: Callable[[str, Any], Awaitable[Struct]]
    request: type[Struct]
    callers: frozenset[str]

    def admits(self, caller: str) -> bool:
        """Whether this caller may ask for it."""
        group, colon, _ = caller.partition(":")
        return caller in self.callers or (colon != "" and f"{group}:*" in self.callers)


Refused = Callable[[str, str, str], None]
"""Told of each call that was refused before a method ran: code, caller, and the method if there is one."""
Methods = dict[str, Method]
Handler = Callable[[str, Any], Awaitable[Struct]]


def offered_to(caller: str, table: Mapping[str, tuple[Handler, type[Struct]]]) -> Methods:
    """Methods that one caller alone may ask for, of handlers and their requests by name."""
    only = frozenset({caller})
    return {name: Method(handler, request, only) for name, (handler, request) in table.items()}


class Empty(Struct, frozen=True, array_like=True):
    """A request or an answer that says nothing."""


class Failure(Struct, frozen=True, array_like=True):
    """An error as it crosses a link: kind and code of the error tree, one sentence."""

    kind: str
    code: str
    message: str


_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder(kind: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def pack(value: Struct) -> bytes:
    """The msgpack bytes of a struct."""
    return _encoder.encode(value)


def unpack(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """A struct out of msgpack bytes; PeerError `mesh.message` when they are not one."""
    try:
        value: T = _decoder(kind).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The decoder's own text may quote values, so it goes no further.
        raise _formless(kind) from None
    return value


def _formless(kind: type[Struct]) -> PeerError:
    return PeerError(
        "mesh.message",
        f"A message between processes does not have the form of {kind.__name__}; both processes should run the same "
        "version of meterseal.",
    )


def _untold(code: str, caller: str, method: str) -> None:
    """Nobody is told."""


async def dispatch(
    methods: Methods, caller: str, name: str, body: bytes | msgspec.Raw, refused: Refused = _untold
) -> Struct | Failure:
    """Run one call; every outcome, unexpected exceptions included, is an answer or a Failure."""
    method = methods.get(name)
    if method is None or not method.admits(caller):
        refused("mesh.denied", caller, name if method is not None else "")
        return Failure(
            ConsentError.kind,
            "mesh.denied",
            "This process does not answer that call from this caller; nothing was done.",
        )
    try:
        request = unpack(body, method.request)
        if not within(method.request)(request):
            raise _formless(method.request)
    except PeerError as error:
        refused(error.code, caller, name)
        return Failure(error.kind, error.code, error.message)
    try:
        return await method.handler(caller, request)
    except MetersealError as error:
        return Failure(error.kind, error.code, error.message)
    except Exception as error:  # noqa: BLE001  # the boundary of the process: nothing unexpected may cross it
        _log_unexpected(name, caller, error)
        return failure_of_unexpected()


def failure_of_unexpected() -> Failure:
    """What the other side learns of a fault of ours: that there was one."""
    return Failure(
        EngineError.kind,
        "mesh.internal",
        "The other process met a fault of its own; see its log, then try again.",
    )


def rebuilt(failure: Failure) -> MetersealError:
    """The error that a Failure stands for."""
    return from_wire(failure.kind, failure.code, failure.message)


def _log_unexpected(method: str, caller: str, error: Exception) -> None:
    """One log line with the place of the fault; never the exception's text, which may quote a payload."""
    import structlog  # slow to import, and only needed here

    where, tb = "", error.__traceback__
    while tb is not None:
        where, tb = f"{tb.tb_frame.f_code.co_filename}:{tb.tb_lineno}", tb.tb_next
    structlog.get_logger("meterseal.mesh").error(
        "mesh.internal", method=method, caller=caller, fault=type(error).__name__, where=where
    )


class InProcess:
    """An Rpc whose other side lives in this process; requests and answers still pass through msgpack."""

    def __init__(self, methods: Methods, caller: str) -> None:
        self._methods = methods
        self._caller = caller

    async def call(self, method: str, request: Struct, reply: type[T]) -> T:
        """As Rpc.call."""
        answer = await dispatch(self._methods, self._caller, method, pack(request))
        if isinstance(answer, Failure):
            raise rebuilt(unpack(pack(answer), Failure))
        return unpack(pack(answer), reply)
