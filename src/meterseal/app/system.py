"""One whole system on one machine: prepares a data directory, starts the four processes from it and ends them.

It does not know who uses the system; demo, tests and the command line start systems only through here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from meterseal.app import config, passphrases, transports
from meterseal.app.clock import now_ms
from meterseal.app.config import Layout, Settings
from meterseal.app.door import operator_connection as operator_connection
from meterseal.app.lock import in_use, take_lock
from meterseal.app.settings import open_settings, save
from meterseal.app.sm_identity import HEADEND, SmIdentities
from meterseal.app.supervise import Spec, Supervisor
from meterseal.errors import LocalError, MetersealError
from meterseal.hostport import written
from meterseal.mesh.authority import Passwords, TlsDirectory
from meterseal.security.keystore import open_place, parse_place

log = structlog.get_logger()
PROCESSES = ("keys", "platform", "headend", "web")
RENEW_EVERY = 3600.0
"""Seconds between looks for process certificates that near their end."""


class System:
    """A running system: where it serves, its operator's connection, and its supervisor."""

    def __init__(
        self, layout: Layout, settings: Settings, supervisor: Supervisor, passwords: Passwords, lock: int
    ) -> None:
        self.layout = layout
        self.settings = settings
        self.supervisor = supervisor
        self.passwords = passwords
        self.first_start = False
        self.ways: dict[str, str] = {}
        """What else the head-end serves, by name, and where."""
        self._renewing = asyncio.create_task(_renew(TlsDirectory(layout.tls), passwords))
        self._lock: int | None = lock
        self.operator = operator_connection(layout)

    @property
    def web(self) -> str:
        return f"http://{written(self.settings.host, self.settings.ports['web'])}"

    @property
    def headend(self) -> dict[str, str]:
        ports = self.settings.ports
        return {
            "tcp": written(self.settings.host, ports["headend_tcp"]),
            "tls": written(self.settings.host, ports["headend_tls"]),
            **self.ways,
        }

    @property
    def platforms(self) -> str:
        return written(self.settings.host, self.settings.ports["platforms"])

    async def stop(self) -> None:
        """End every process cleanly."""
        self._renewing.cancel()
        await self.operator.close()
        await self.supervisor.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


async def start(
    root: Path,
    *,
    passphrase_file: Path | None = None,
    project: str | None = None,
    lab: bool = False,
    host: str = "127.0.0.1",
    ports: dict[str, int] | None = None,
    keyring: bool = False,
    keystore: str = "",
    verbose: bool = False,
    sm_tls: bool = False,
    transports_file: Path | None = None,
    on_line: Callable[[str, dict[str, Any]], None] | None = None,
) -> System:
    """Start the system of the data directory `root`, making it first when it is new.

    Raises LocalError (directory in use, busy port, newer or foreign directory, bad file modes), TrustError (wrong
    passphrase) and EngineError (disk, a process that does not come up), each one sentence for a person. A first start
    that was cut off is completed by the next one.
    """
    layout = Layout(root, passphrase_file)
    first = not layout.exists
    ways = None if transports_file is None else transports.read(transports_file)
    if first:
        parse_place(keystore)
        settings = Settings(project=_project(project), lab=lab, keyring=keyring, keystore=keystore)
        config.check_free(layout)
        _require_no_platform(layout)
    elif lab and not config.load(layout).lab:
        raise LocalError(
            "app.not-lab",
            f"{layout.root} is not a lab system and cannot become one. Use another data directory.",
        )
    else:
        keyring = config.load(layout).keyring
        _require_platform(layout)
    early = first and not in_use(layout)
    if early:  # a new system that cannot have its ports leaves nothing behind
        settings.host = host
        config.choose_ports(settings, ports or {})
    lock = await take_lock(layout)
    try:
        if first:
            if not early:
                settings.host = host
                config.choose_ports(settings, ports or {})
            config.make_directories(layout)
            passphrase = config.take_passphrase(layout, create=True, keyring=keyring)
            passwords = _provision(layout, settings, passphrase)
        else:
            passphrase = config.take_passphrase(layout, create=False, keyring=keyring)
            passwords = TlsDirectory(layout.tls).open(passphrase)
            passphrases.settle(layout, passphrase)
            settings = _open(layout, passwords, keystore)
            settings.host = host
            config.choose_ports(settings, ports or {})
            TlsDirectory(layout.tls).renew(passwords, now_ms())
        if ways is not None:
            settings.transports = transports.settled(ways, host)
        _prepare_sm(SmIdentities(layout.tls), passwords, wanted=sm_tls, first=first)
        save(layout, settings, passwords)
        specs = [_spec(name, layout, settings, passwords, passphrase, verbose=verbose) for name in PROCESSES]
        supervisor = Supervisor(specs, on_line, keep=[lock])
        said = await supervisor.start()
        system = System(layout, settings, supervisor, passwords, lock)
        system.ways = said["headend"].get("ways", {})
    except BaseException:
        os.close(lock)
        raise
    system.first_start = first
    return system


def _require_no_platform(layout: Layout) -> None:
    """New keys would open nothing of it, and stand in the way of those that do."""
    if layout.control.exists():
        raise LocalError(
            "app.no-keys",
            f"{layout.root} holds a platform and no keys, so it was restored alone. Bring its keys back first: meterseal "
            f"keys restore FILE --data {layout.root}. Nothing was changed.",
        )


def _require_platform(layout: Layout) -> None:
    """An empty one beside keys that have served would look like a system that lost nothing. A first start makes its
    directories before it says that the system exists, so one that was cut off is completed."""
    if not layout.control.exists() and not layout.measurements.is_dir():
        raise LocalError(
            "app.no-platform",
            f"{layout.root} holds keys and no platform: nothing is in {layout.platform}. Mount its disk, or bring a backup "
            f"back: meterseal store restore PLACE --data {layout.root}. Only to begin an empty platform under these keys: "
            f"mkdir -p -m 700 {layout.measurements}. Nothing was changed.",
        )


def _project(text: str | None) -> str:
    project = (text or config.DEFAULT_PROJECT).lower()
    if len(project) != 32 or set(project) - set("0123456789abcdef"):
        raise LocalError("use.project", f"`{text}` is no project id: give 32 hex digits with --project.")
    return project


def _open(layout: Layout, passwords: Passwords, keystore: str) -> Settings:
    settings = open_settings(layout, passwords)
    if keystore and parse_place(keystore) != parse_place(settings.keystore):
        raise LocalError(
            "app.keystore",
            f"{layout.root} was set up with the key store {settings.keystore or 'software'}; start it without "
            "--keystore. Nothing was changed.",
        )
    return settings


def _provision(layout: Layout, settings: Settings, passphrase: bytes) -> Passwords:
    from meterseal.security.service import provision

    now = now_ms()
    store = open_place(parse_place(settings.keystore), passphrase)
    try:
        provision(
            layout.keys, passphrase, bytes.fromhex(settings.project), now, lab=settings.lab, store=store
        )
    finally:
        store.close()  # the process `keys` logs in to a token itself
    return TlsDirectory(layout.tls).provision(passphrase, now)


def _prepare_sm(identities: SmIdentities, passwords: Passwords, *, wanted: bool, first: bool) -> None:
    if wanted and not (first or identities.enabled):
        raise LocalError(
            "app.not-sm",
            "This system's concentrators have ordinary TLS certificates. Start a new system with --sm-tls, and enrol "
            "them there.",
        )
    if wanted or identities.enabled:
        identities.provision(passwords, now_ms())


async def _renew(directory: TlsDirectory, passwords: Passwords) -> None:
    """Issue anew what nears its end, for as long as the system runs; the processes take it up by themselves."""
    concentrators = SmIdentities(directory.directory)
    while True:
        await asyncio.sleep(RENEW_EVERY)
        try:
            await asyncio.to_thread(directory.renew, passwords, now_ms())
            if concentrators.enabled:
                await asyncio.to_thread(concentrators.renew, passwords, now_ms())
        except MetersealError as error:
            log.warning("tls.not-renewed", code=error.code, message=error.message)


def _spec(
    name: str, layout: Layout, settings: Settings, passwords: Passwords, passphrase: bytes, *, verbose: bool
) -> Spec:
    orders: dict[str, Any] = {
        "data": str(layout.root),
        "host": settings.host,
        "ports": settings.ports,
        "lab": settings.lab,
        "project": settings.project,
        "password": passwords.of(name).decode("latin-1"),
        "verbose": verbose,
    }
    if name == "headend":
        orders["passwords"] = {HEADEND: passwords.of(HEADEND).decode("latin-1")}
        orders["transports"] = msgspec.to_builtins(settings.transports)
    if name == "keys":
        orders["passphrase"] = passphrase.decode("latin-1")
        orders["keystore"] = settings.keystore
    module = "meterseal.app.process"
    return Spec(name=name, module=module, arguments=[name], orders=orders, last=name == "keys")
