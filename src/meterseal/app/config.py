"""Where a system lives: one data directory, its settings file, its passphrase beside it and not inside it.

It opens no store and starts no process; it only says where things are and whether this program may use them.

    DIR/meterseal.json        format, project, ports (public settings)
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

from meterseal.errors import LocalError

FORMAT = 1
"""Version of the data directory's layout; a newer one is refused, an older one migrated."""

DEFAULT_PROJECT = "31011500000000000001000200000003"
"""Project id of a fresh system (LINK section 1): region 3101 1500, domain 1, business 2, project number 3."""

INTERNAL = ("keys", "platform")
PUBLIC = ("web", "headend_tcp", "headend_tls")


class Settings(Struct, kw_only=True):
    """`DIR/meterseal.json`: public settings only, no secret."""

    format: int = FORMAT
    project: str = DEFAULT_PROJECT
    lab: bool = False
    host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    keyring: bool = False


class Layout:
    """Paths of one data directory; creates nothing by itself."""

    def __init__(self, root: Path, passphrase_file: Path | None = None) -> None:
        self.root = root.absolute()
        self.settings_file = self.root / "meterseal.json"
        self.keys = self.root / "keys"
        self.tls = self.root / "tls"
        self.platform = self.root / "platform"
        self.control = self.platform / "control.db"
        self.measurements = self.platform / "measurements"
        self.passphrase_file = passphrase_file or self.root.with_name(self.root.name + ".passphrase")

    @property
    def exists(self) -> bool:
        return self.settings_file.exists()


def load(layout: Layout) -> Settings:
    """Read the settings; LocalError `app.no-data`, `app.settings` or `app.newer` when this program must not go on."""
    try:
        raw = layout.settings_file.read_bytes()
    except FileNotFoundError:
        raise LocalError(
            "app.no-data",
            f"{layout.root} holds no meterseal system. Start one there with: meterseal up --data {layout.root}",
        ) from None
    except OSError as error:
        raise _unusable(layout.root, error) from None
    try:
        settings = msgspec.json.decode(raw, type=Settings)
    except msgspec.DecodeError as error:
        raise LocalError(
            "app.settings",
            f"{layout.settings_file} cannot be read ({error}). Restore it from a backup; nothing was changed.",
        ) from None
    if settings.format > FORMAT:
        raise LocalError(
            "app.newer",
            f"{layout.root} was written by a newer meterseal (data format {settings.format}, this program knows "
            f"{FORMAT}). Install the newer version; nothing was changed.",
        )
    return settings


def save(layout: Layout, settings: Settings) -> None:
    """Write the settings atomically."""
    replace_file(layout.settings_file, msgspec.json.format(msgspec.json.encode(settings), indent=2))


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a crash leaves the old or the new content, never a mixture."""
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError as error:
        raise _unusable(path, error) from None


def make_directories(layout: Layout) -> None:
    """Create the data directory (mode 0700); refuses one that holds something else."""
    try:
        if layout.root.exists() and not layout.exists and any(layout.root.iterdir()):
            raise LocalError(
                "app.not-empty",
                f"{layout.root} is not empty and holds no meterseal system. Give an empty or a new directory.",
            )
        for path in (layout.root, layout.keys, layout.tls, layout.platform, layout.measurements):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(layout.root, error) from None


def _unusable(path: Path, error: OSError) -> LocalError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalError(
            "app.disk-full", f"The disk that holds {path} is full. Free some space and start again; nothing is lost."
        )
    return LocalError("app.unusable", f"{path} cannot be used: {error.strerror}. Choose another place or mend it.")


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
        raise _unusable(path, error) from None
    if len(passphrase) < 12:
        raise LocalError("app.weak-passphrase", f"The passphrase in {path} has fewer than 12 bytes. Use a longer one.")
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
            f"The system's keyring cannot be used ({type(error).__name__}). Start without --keyring to keep the "
            "passphrase in a file.",
        ) from None
    if stored is None:
        raise LocalError(
            "app.no-passphrase", f"The system's keyring holds no passphrase for {layout.root}, so the vaults stay closed."
        )
    return stored.encode()


def choose_ports(settings: Settings, wanted: dict[str, int]) -> None:
    """Give every listener a port: what was asked for, what it had, else a free one; a busy one is refused by name."""
    for name in (*PUBLIC, *INTERNAL):
        port = wanted.get(name) or settings.ports.get(name, 0)
        settings.ports[name] = _claim(settings.host if name in PUBLIC else "127.0.0.1", port, name)


def _claim(host: str, port: int, name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            option = name.replace("_", "-")
            raise LocalError(
                "app.port-busy",
                f"Port {port} of {host}, wanted for {name}, is in use by another program. Stop that program or choose "
                f"another port with --{option}-port.",
                port=port,
            ) from None
        return int(probe.getsockname()[1])
