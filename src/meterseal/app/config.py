"""Where a system lives: one data directory, its settings file, its passphrase beside it and not inside it.

It opens no store and starts no process; it only says where things are and whether this program may use them. What
of the settings is sealed, `settings` seals and opens.

    DIR/meterseal.json        format, project, lab, where the passphrase comes from; all else sealed
    DIR/lock                  held by the running system; a second one is refused
    DIR/keys/                 the security service's vaults, registry and audit
    DIR/tls/                  second root and process identities, private keys encrypted
    DIR/platform/             control store, journal, segments
    DIR.passphrase            mode 0600, or wherever --passphrase-file says; never inside DIR, so that a copy or
                              backup of DIR is worth nothing
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from pathlib import Path

import msgspec
from msgspec import Struct, field

from meterseal.app.transports import Transports
from meterseal.errors import LocalError
from meterseal.hostport import family

FORMAT = 2
"""Version of the data directory's layout; a newer one is refused, an older one migrated. 1 had every setting in clear."""

DEFAULT_PROJECT = "31011500000000000001000200000003"
"""Project id of a fresh system (LINK section 1): region 3101 1500, domain 1, business 2, project number 3."""

INTERNAL = ("keys", "platform")
PUBLIC = ("web", "headend_tcp", "headend_tls", "platforms")
OURS = frozenset(
    {"keys", ".keys.new", "tls", "platform", "lock", "meterseal.json.new", "operator.sock", "keys.sock"}
)
"""What a first start that was cut off may leave behind; it is safe to go on from there."""


class Settings(Struct, kw_only=True):
    """Every setting of a system; no secret, but host, ports and key store are sealed at rest (HM-8.3.3.b, 8.4.3.b)."""

    project: str = DEFAULT_PROJECT
    lab: bool = False
    host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    keyring: bool = False
    keystore: str = ""
    """Where the vaults' key-encryption keys lie: empty for the passphrase, or a PKCS#11 URI."""
    transports: Transports = Transports()
    """What the head-end serves beside its two streams."""


class Stated(Struct, frozen=True, kw_only=True):
    """What must be known before a passphrase is at hand, in clear; `sealed` is the rest (`settings`)."""

    format: int
    project: str = DEFAULT_PROJECT
    lab: bool = False
    keyring: bool = False
    sealed: bytes = b""


class _Version(Struct):
    format: int


class Layout:
    """Paths of one data directory; creates nothing by itself."""

    def __init__(self, root: Path, passphrase_file: Path | None = None) -> None:
        self.root = root.absolute()
        self.settings_file = self.root / "meterseal.json"
        self.keys = self.root / "keys"
        self.tls = self.root / "tls"
        self.platform = self.root / "platform"
        self.lock = self.root / "lock"
        self.control = self.platform / "control.db"
        self.measurements = self.platform / "measurements"
        self.passphrase_file = passphrase_file or self.root.with_name(self.root.name + ".passphrase")

    @property
    def exists(self) -> bool:
        return self.settings_file.exists()


def load(layout: Layout) -> Stated:
    """What the settings state in clear; LocalError `app.no-data`, `app.settings` or `app.newer` when this program must
    not go on.
    """
    return stated(layout, read_settings(layout))


def read_settings(layout: Layout) -> bytes:
    """The settings file as it is; LocalError `app.no-data` when there is none."""
    try:
        return layout.settings_file.read_bytes()
    except FileNotFoundError:
        raise LocalError(
            "app.no-data",
            f"{layout.root} holds no meterseal system. Start one there with: meterseal up --data {layout.root}",
        ) from None
    except OSError as error:
        raise unusable(layout.root, error) from None


def stated(layout: Layout, raw: bytes) -> Stated:
    """The clear part of a settings file of this format or an older one; LocalError `app.settings` or `app.newer`."""
    try:
        written = msgspec.json.decode(raw, type=_Version).format
        if written <= FORMAT:
            found = msgspec.json.decode(raw, type=Stated)
            if written < 1 or bool(found.sealed) != (written > 1):
                raise msgspec.ValidationError(f"format {written} does not look like that")
            return found
    except msgspec.DecodeError as error:
        raise damaged(layout, str(error)) from None
    raise LocalError(
        "app.newer",
        f"{layout.root} was written by a newer meterseal (data format {written}, this program knows {FORMAT}). Install "
        "the newer version; nothing was changed.",
    )


def damaged(layout: Layout, why: str) -> LocalError:
    """What a person is told whose settings file cannot be used."""
    return LocalError(
        "app.settings",
        f"{layout.settings_file} cannot be read ({why}). Restore it from a backup; nothing was changed.",
    )


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a crash leaves the old or the new content, never a mixture."""
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            left = memoryview(content)
            while left:  # a disk that fills up takes a part before it refuses
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError as error:
        raise unusable(path, error) from None


def make_directories(layout: Layout) -> None:
    """Create the data directory (mode 0700); refuses one that holds something else."""
    try:
        check_free(layout)
        for path in (layout.root, layout.keys, layout.tls, layout.platform, layout.measurements):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(layout.root, error) from None


def check_free(layout: Layout) -> None:
    """LocalError `app.not-empty` when a new system would lie among somebody else's files; changes nothing."""
    try:
        if (
            layout.root.exists()
            and not layout.exists
            and {path.name for path in layout.root.iterdir()} - OURS
        ):
            raise LocalError(
                "app.not-empty",
                f"{layout.root} is not empty and holds no meterseal system. Give an empty or a new directory.",
            )
    except OSError as error:
        raise unusable(layout.root, error) from None


def unusable(path: Path, error: OSError) -> LocalError:
    """What a person is told when a path cannot be used: the disk is full, or the system's reason."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalError(
            "app.disk-full",
            f"The disk that holds {path} is full. Free some space and start again; nothing is lost.",
        )
    return LocalError(
        "app.unusable", f"{path} cannot be used: {error.strerror}. Choose another place or mend it."
    )


def read_passphrase(layout: Layout, *, create: bool) -> bytes:
    """The passphrase's bytes; a fresh random one is written beside the data directory at the first start."""
    path = layout.passphrase_file
    if create and not path.exists():
        replace_file(path, secrets.token_urlsafe(32).encode() + b"\n")
    try:
        if path.stat().st_mode & 0o077:
            raise LocalError(
                "app.passphrase-mode",
                f"{path} can be read by other users of this machine. Run: chmod 600 {path}",
            )
        passphrase = path.read_bytes().strip()
    except FileNotFoundError:
        raise LocalError(
            "app.no-passphrase",
            f"The passphrase file {path} is missing, so the vaults stay closed. Put it back, or name it with "
            "--passphrase-file.",
        ) from None
    except OSError as error:
        raise unusable(path, error) from None
    if len(passphrase) < 12:
        raise LocalError(
            "app.weak-passphrase", f"The passphrase in {path} has fewer than 12 bytes. Use a longer one."
        )
    return passphrase


def take_passphrase(layout: Layout, *, create: bool, keyring: bool) -> bytes:
    """The passphrase from its file, or from the system's keyring when the settings say so."""
    if not keyring:
        return read_passphrase(layout, create=create)
    import keyring as system_keyring
    from keyring.errors import KeyringError

    try:
        stored = system_keyring.get_password("meterseal", str(layout.root))
        if stored is None and create:
            stored = secrets.token_urlsafe(32)
            system_keyring.set_password("meterseal", str(layout.root), stored)
    except KeyringError as error:
        raise LocalError(
            "app.keyring",
            f"The system's keyring cannot be used ({type(error).__name__}). "
            + (
                "Start without --keyring to keep the passphrase in a file."
                if create
                else "This system's passphrase lies in it: unlock it in this session, then start again."
            ),
        ) from None
    if stored is None:
        raise LocalError(
            "app.no-passphrase",
            f"The system's keyring holds no passphrase for {layout.root}, so the vaults stay closed. Start as the person "
            "who set the system up, or restore a backup.",
        )
    return stored.encode()


def choose_ports(settings: Settings, wanted: dict[str, int]) -> None:
    """Give every listener a port: what was asked for, what it had, else a free one; a busy one is refused by name.

    Ports between our own processes are chosen anew when they are taken: nobody outside knows them.
    """
    chosen: dict[str, int] = {}
    for name in (*PUBLIC, *INTERNAL):
        port = wanted.get(name) or settings.ports.get(name, 0)
        host = settings.host if name in PUBLIC else "127.0.0.1"
        try:
            found = _claim(host, port, name)
        except LocalError:
            if name in PUBLIC:
                raise
            found = _claim(host, 0, name)
        while found in chosen.values():
            if name in PUBLIC and port:
                raise LocalError(
                    "app.port-twice",
                    f"Port {port} was given to two listeners. Choose another one for {_option(name)}.",
                )
            found = _claim(host, 0, name)
        chosen[name] = found
    settings.ports.update(chosen)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}-port"


def _claim(host: str, port: int, name: str) -> int:
    if not 0 <= port <= 65_535:
        raise LocalError("use.port", f"{port} is no port: give 1 to 65535 with {_option(name)}, or nothing.")
    with socket.socket(family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _no_port(host, port, name, error) from None
        return int(probe.getsockname()[1])


def _no_port(host: str, port: int, name: str, error: OSError) -> LocalError:
    if error.errno == errno.EADDRINUSE:
        return LocalError(
            "app.port-busy",
            f"Port {port} of {host}, wanted for {name}, is in use by another program. Stop that program or choose "
            f"another port with {_option(name)}.",
            port=port,
        )
    if error.errno == errno.EACCES:
        return LocalError(
            "app.port-denied",
            f"This account may not listen on port {port}, wanted for {name}. Choose one above 1023 with {_option(name)}.",
            port=port,
        )
    return LocalError(
        "app.host",
        f"{host} is no address of this machine ({error.strerror}). Give one with --host, such as 127.0.0.1.",
    )
