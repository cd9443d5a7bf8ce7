"""The settings at rest: what a data directory's settings file states in clear, and the sealed rest of it.

It chooses no port and asks nobody for a passphrase; `config` does. Addresses and ports of the listeners and the place of
the key store are parameters of the platform, which HM-8.3.3.b and HM-8.4.3.b want stored as ciphertext.

The sealed part is SM4-GCM under a key from the system's passphrase (one Argon2id, as for the TLS keys); its associated
data are file, format and all that is stated in clear, so neither a lab mark that was set by hand nor a file of another
directory opens. A file of format 1 (all in clear) is read, and sealed when the system starts next.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from meterseal.app import config
from meterseal.app.config import FORMAT, Layout, Settings, Stated
from meterseal.app.transports import Transports
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.authority import Passwords, TlsDirectory
from meterseal.places import place

FILE = "meterseal.json"


class _Sealed(Struct, kw_only=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    keystore: str = ""
    transports: Transports = Transports()


def save(layout: Layout, settings: Settings, passwords: Passwords) -> None:
    """Write the settings, sealed, so that a crash leaves the old or the new file whole."""
    rest = _Sealed(
        host=settings.host,
        ports=settings.ports,
        keystore=settings.keystore,
        transports=settings.transports,
    )
    said = Stated(format=FORMAT, project=settings.project, lab=settings.lab, keyring=settings.keyring)
    sealed = _key(passwords).gcm_seal(msgspec.msgpack.encode(rest), _where(said))
    whole = msgspec.structs.replace(said, sealed=sealed)
    config.replace_file(layout.settings_file, msgspec.json.format(msgspec.json.encode(whole), indent=2))


def open_settings(layout: Layout, passwords: Passwords) -> Settings:
    """Every setting. Raises what `config.load` raises, TrustError `mesh.passphrase` (another passphrase) and
    `app.settings-sealed` (changed, or of another data directory).
    """
    raw = config.read_settings(layout)
    said = config.stated(layout, raw)
    try:
        if said.format == 1:
            rest = msgspec.convert(
                {name: value for name, value in msgspec.json.decode(raw).items() if name in _NAMES}, _Sealed
            )
        else:
            opened = _key(passwords).gcm_open(said.sealed, _where(said))
            rest = msgspec.msgpack.decode(opened, type=_Sealed)
    except msgspec.DecodeError as error:
        raise config.damaged(layout, str(error)) from None
    except TrustError:
        _check_passphrase(layout, passwords)
        raise TrustError(
            "app.settings-sealed",
            f"{layout.settings_file} does not open: it was changed, or it or the directory tls beside it comes from "
            "another system. Restore both from one backup; nothing was changed.",
        ) from None
    return Settings(
        project=said.project,
        lab=said.lab,
        host=rest.host,
        ports=rest.ports,
        keyring=said.keyring,
        keystore=rest.keystore,
        transports=rest.transports,
    )


_NAMES = frozenset(_Sealed.__struct_fields__)


def _check_passphrase(layout: Layout, passwords: Passwords) -> None:
    """TrustError `mesh.passphrase` when it is not the file but the passphrase that is wrong."""
    try:
        TlsDirectory(layout.tls).issuer(passwords)
    except (OSError, ValueError, LocalError):
        return  # the tls directory is damaged too, which the sentence about the file covers


def _key(passwords: Passwords) -> SymmetricKey:
    raw = bytes.fromhex(passwords.of("settings").decode())
    return SymmetricKey.from_bytes(raw[:16], "the settings' key")


def _where(said: Stated) -> bytes:
    return place(FILE, said.format, said.project, int(said.lab), int(said.keyring))
