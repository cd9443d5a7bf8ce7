"""Station edge, what one concentrator is told, kept on a sealed page of its own memory.

It starts nothing and chooses nothing. HM-8.3.3.b and HM-8.4.3.b want a device's parameters, addresses and ports of
servers among them, stored as ciphertext: so they are given once, in a setup file or as orders, and live here after that.

The page is SM4-GCM under a key of its own from the storage key of the memory; its name, which carries the version of the
format, stands in the associated data. In an emulator that key lies beside the page, as `edge.nv` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from meterseal.edge.agent import Timing
from meterseal.edge.gateway import Backoff
from meterseal.edge.memories import Memories
from meterseal.edge.place import Place
from meterseal.edge.poll import Pace
from meterseal.edge.schedule import Schedule
from meterseal.edge.watching import AlarmBits
from meterseal.errors import LocalError, TrustError
from meterseal.hostport import written

PAGE = "parameters 1"


class TlsFiles(Struct, kw_only=True):
    """PEM files of the concentrator's TLS identity, and the password of its key; "" for the one that is kept."""

    certificate: str
    key: str
    root: str
    password: str = ""


class MeterConfig(Struct, kw_only=True):
    """A meter on a riser: device id in hex; `plain` when it has no module; its model where its number does not tell."""

    device_id: str
    plain: bool = False
    model: str = ""


class RiserConfig(Struct, kw_only=True):
    """One bus: where it is, as `edge.place` names it or by host and port of a socket, and who hangs on it."""

    line: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    meters: list[MeterConfig]

    @property
    def place(self) -> Place:
        """LocalError `line.place`."""
        return Place(self.line or f"tcp:{written(self.host, self.port)}")


class ConcentratorConfig(Struct, kw_only=True):
    """What the program is told. `dir` holds the module's memory and what is vouched for; ids are hex."""

    dir: str
    device_id: str
    module_id: str
    headend_host: str
    headend_port: int
    risers: list[RiserConfig]
    tls: TlsFiles | None = None
    pace: Pace = Pace()
    timing: Timing = Timing()
    backoff: Backoff = field(default_factory=Backoff)
    schedule: Schedule | None = None
    alarms: dict[str, AlarmBits] = {}
    verbose: bool = False


class _Kept(Struct, kw_only=True):
    """The page: the configuration once one was given, and the password of the TLS key."""

    config: ConcentratorConfig | None = None
    password: str = ""


class Parameters:
    """The parameters of the concentrator whose memory this is."""

    def __init__(self, directory: Path, memories: Memories) -> None:
        self._directory = directory
        self._page = memories.page(b"parameters")

    def take(self, orders: dict[str, Any]) -> ConcentratorConfig:
        """The configuration in force: the one of the orders, which is kept from now on, or the kept one when they name
        the directory alone.

        LocalError `concentrator.config` (wrong fields), `concentrator.no-parameters` (never given); TrustError
        `concentrator.parameters` (the page does not open, which new orders with everything in them mend).
        """
        if orders.keys() <= {"dir", "verbose"}:
            kept = self._read()
            if kept.config is None:
                raise LocalError(
                    "concentrator.no-parameters",
                    f"{self._directory} holds no parameters of a concentrator yet. Give them once with --config FILE.",
                )
            return replace(kept.config, dir=str(self._directory), tls=_with(kept.config.tls, kept.password))
        try:
            given = msgspec.convert(orders, ConcentratorConfig)
        except msgspec.ValidationError as error:
            raise LocalError(
                "concentrator.config", f"The configuration of the concentrator is wrong: {error}."
            ) from None
        password = given.tls.password if given.tls is not None else ""
        if given.tls is not None and not password:
            password = self._read().password
        self._write(_Kept(config=replace(given, dir="", tls=_with(given.tls, "")), password=password))
        return replace(given, tls=_with(given.tls, password))

    @property
    def password(self) -> str:
        """Password of the TLS key, "" when there is none. TrustError `concentrator.parameters`."""
        return self._read().password

    @password.setter
    def password(self, password: str) -> None:
        self._write(_Kept(password=password))

    def _read(self) -> _Kept:
        try:
            page = self._page.read(PAGE)
            return _Kept() if page is None else msgspec.msgpack.decode(page, type=_Kept)
        except (TrustError, msgspec.DecodeError):
            raise TrustError(
                "concentrator.parameters",
                f"The parameters kept in {self._directory} do not open: they were changed, or come from another "
                "concentrator. Give them again with --config FILE.",
            ) from None

    def _write(self, kept: _Kept) -> None:
        self._page.write({PAGE: msgspec.msgpack.encode(kept)}, settled=True)


def _with(files: TlsFiles | None, password: str) -> TlsFiles | None:
    return None if files is None else replace(files, password=password)
