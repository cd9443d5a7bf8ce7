"""Station edge, where a line is: a TCP socket of a serial server, or a serial port of this machine.

It only connects; bytes are the caller's.
"""

from __future__ import annotations

import asyncio
import errno
import re
import termios
from collections.abc import Callable
from typing import Final

from meterseal.errors import LocalError
from meterseal.hostport import parted

SLOWEST, FASTEST = 300, 921_600
"""Bauds."""
_SERIAL: Final = re.compile(r"serial:(?P<device>[^:\s]+)(:(?P<baud>\d{1,6})(:(?P<parity>[EONeon]))?)?\Z")


class Place:
    """`tcp:HOST:PORT`, or `serial:DEVICE[:BAUD[:PARITY]]`: by default 2400 bauds, 8 bits, even parity, one stop bit.

    LocalError `line.place` for what names neither.
    """

    def __init__(self, said: str) -> None:
        self.said = said
        self._tcp = self._serial = None
        here = said.replace("tcp::", "tcp:127.0.0.1:", 1) if re.match(r"tcp::\d+\Z", said) else said
        if here.startswith("tcp:") and (tcp := parted(here.removeprefix("tcp:"))) is not None:
            self._tcp = tcp
        elif (serial := _SERIAL.match(said)) and SLOWEST <= int(serial["baud"] or 2400) <= FASTEST:
            self._serial = serial["device"], int(serial["baud"] or 2400), (serial["parity"] or "E").upper()
        else:
            raise LocalError(
                "line.place",
                f"{said!r} names no line: give tcp:HOST:PORT (an IPv6 host in brackets) or serial:/dev/ttyUSB0:2400:E.",
            )

    @property
    def baud(self) -> int:
        """Speed of a serial port in bauds, 0 for a socket."""
        return 0 if self._serial is None else self._serial[1]

    @property
    def device(self) -> str:
        """The serial port's device file, "" for a socket."""
        return "" if self._serial is None else self._serial[0]

    async def connect(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Connect; OSError while nobody is there, LocalError `line.serial` without the package for serial ports."""
        loop = asyncio.get_running_loop()
        if self._tcp is not None:
            await loop.create_connection(make, *self._tcp)
        elif self._serial is not None:
            try:
                from serial import PosixPollSerial, SerialException
                from serial_asyncio_fast import connection_for_serial
            except ImportError:
                raise LocalError(
                    "line.serial",
                    "Serial ports need a package more; in meterseal's directory: .venv/bin/pip install -e '.[serial]'",
                ) from None
            device, baud, parity = self._serial
            try:
                # The one that polls: the other cannot read where a process has more than 1,024 files open.
                port = PosixPollSerial(device, baud, 8, parity, 1, exclusive=True)
                await connection_for_serial(loop, make, port)
            except (SerialException, termios.error) as error:
                number = getattr(error, "errno", None) or (error.args[0] if error.args else 0)
                raise OSError(
                    number, _why(device, number, str(error.args[-1] if error.args else error))
                ) from None


def _why(device: str, number: object, otherwise: str) -> str:
    """What a person can do about a serial port that does not open."""
    if number == errno.ENOENT:
        return f"{device} is not there; plug it in, or look for its name with: ls /dev/serial/by-id"
    if number in (errno.EACCES, errno.EPERM):
        return f"{device} may not be opened by this user; join the group that owns it (ls -l {device}) and log in again"
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return f"{device} is in use by another program; end that first"
    return otherwise
