"""Station edge, the module's port to a real chip: command APDUs through PC/SC to whatever card is in a reader.

It is a `ModulePort` like the emulated module and knows no command. It needs the system's PC/SC library
(libpcsclite 1, with its service pcscd), which is loaded when a reader is opened and not before; no Python
package.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from types import TracebackType
from typing import Any

from meterseal.errors import EngineError

_LONGEST = 65_544
"""MAX_BUFFER_SIZE_EXTENDED of pcsclite."""
_SYSTEM, _EXCLUSIVE, _T0, _T1, _RESET = 2, 1, 1, 2, 1
_MORE, _WRONG_LE, _MOST_PARTS = 0x61, 0x6C, 512
_REASONS = {
    0x8010001D: "the PC/SC service does not run; start pcscd",
    0x8010002E: "there is no reader; plug one in",
    0x80100009: "there is no reader of this name; `readers` lists them",
    0x8010000C: "there is no card in the reader; put one in",
    0x8010000B: "the card is in use by another program; close it",
    0x80100069: "the card was taken out",
    0x80100068: "the card was reset by another program",
    0x80100066: "the card does not answer",
    0x8010006A: "the system's policy lets this user use no card",
}
_Long, _Dword, _Handle = ctypes.c_long, ctypes.c_ulong, ctypes.c_long


class _IoRequest(ctypes.Structure):
    _fields_ = (("protocol", _Dword), ("length", _Dword))


def _library() -> Any:
    name = ctypes.util.find_library("pcsclite")
    if name is None:
        raise EngineError(
            "module.reader",
            "This system has no PC/SC library, so no reader can be used; on Debian and Ubuntu: "
            "apt install libpcsclite1 pcscd",
        )
    library = ctypes.CDLL(name)
    pointer = ctypes.POINTER
    for function, kinds in {
        "SCardEstablishContext": (_Dword, ctypes.c_void_p, ctypes.c_void_p, pointer(_Handle)),
        "SCardReleaseContext": (_Handle,),
        "SCardListReaders": (_Handle, ctypes.c_char_p, ctypes.c_char_p, pointer(_Dword)),
        "SCardConnect": (_Handle, ctypes.c_char_p, _Dword, _Dword, pointer(_Handle), pointer(_Dword)),
        "SCardDisconnect": (_Handle, _Dword),
        "SCardTransmit": (
            _Handle, pointer(_IoRequest), ctypes.c_char_p, _Dword,
            ctypes.c_void_p, ctypes.c_char_p, pointer(_Dword),
        ),
    }.items():  # fmt: skip
        getattr(library, function).argtypes = kinds
        getattr(library, function).restype = _Long
    return library


def _check(status: int) -> None:
    code = status & 0xFFFFFFFF
    if code:
        why = _REASONS.get(code, f"PC/SC says {code:08X}")
        raise EngineError("module.reader", f"The module in the reader cannot be reached: {why}.", status=code)


class _Context:
    """One connection to the PC/SC service."""

    def __init__(self) -> None:
        self.library = _library()
        self._handle = _Handle()
        _check(self.library.SCardEstablishContext(_SYSTEM, None, None, ctypes.byref(self._handle)))

    def readers(self) -> list[str]:
        size = _Dword()
        status = self.library.SCardListReaders(self._handle, None, None, ctypes.byref(size))
        if status & 0xFFFFFFFF == 0x8010002E:
            return []
        _check(status)
        names = ctypes.create_string_buffer(size.value)
        _check(self.library.SCardListReaders(self._handle, None, names, ctypes.byref(size)))
        return [name.decode(errors="replace") for name in names.raw[: size.value].split(b"\x00") if name]

    def connect(self, reader: str) -> tuple[Any, int]:
        card, protocol = _Handle(), _Dword()
        status = self.library.SCardConnect(
            self._handle, reader.encode(), _EXCLUSIVE, _T0 | _T1, ctypes.byref(card), ctypes.byref(protocol)
        )
        _check(status)
        return card, protocol.value

    def release(self) -> None:
        self.library.SCardReleaseContext(self._handle)


def readers() -> list[str]:
    """Names of the readers of this machine. EngineError `module.reader` without PC/SC library or service."""
    context = _Context()
    try:
        return context.readers()
    finally:
        context.release()


class PcscPort:
    """The module in a reader, for this program alone; opening it powers it on, closing it resets it.

    Raises EngineError `module.reader` when reader or card cannot be reached; what the card answers is never an
    exception.
    """

    def __init__(self, reader: str) -> None:
        self._context = _Context()
        try:
            self._card, protocol = self._context.connect(reader)
        except EngineError:
            self._context.release()
            raise
        self._protocol = _IoRequest(protocol, ctypes.sizeof(_IoRequest))

    def transmit(self, command: bytes) -> bytes:
        """Response APDU of one command APDU; an answer that a T=0 card gives in parts comes whole."""
        response = self._once(command)
        if response[-2:-1] == bytes((_WRONG_LE,)):
            response = self._once(command[:4] + response[-1:])
        whole = b""
        for _ in range(_MOST_PARTS):
            if response[-2:-1] != bytes((_MORE,)):
                break
            whole += response[:-2]
            response = self._once(b"\x00\xc0\x00\x00" + response[-1:])
        return whole + response

    def _once(self, command: bytes) -> bytes:
        answer, size = ctypes.create_string_buffer(_LONGEST), _Dword(_LONGEST)
        status = self._context.library.SCardTransmit(
            self._card, ctypes.byref(self._protocol), command, len(command), None, answer, ctypes.byref(size)
        )
        _check(status)
        if size.value < 2:
            raise EngineError(
                "module.reader", "The card gave no status word; it is no module, or it is broken."
            )
        return answer.raw[: size.value]

    def close(self) -> None:
        """Reset the card and let others have it."""
        self._context.library.SCardDisconnect(self._card, _RESET)
        self._context.release()

    def __enter__(self) -> PcscPort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
