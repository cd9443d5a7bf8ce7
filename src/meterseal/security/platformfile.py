"""A platform's own files: its two keys under a passphrase, and the application that officers of a system sign.

It reaches no service and needs no system: it is used where the platform is, which need not be where the system is.

    NAME.tls.key   PEM, PKCS#8 of the P-256 key of its TLS certificate, encrypted; mode 0600
    NAME.key       JSON like an officer's key file: the SM2 key that attests the application; mode 0600
    NAME.request   JSON: the application, to be signed by two officers (`officerfile`); nothing secret
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from msgspec import structs

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError
from meterseal.mesh.requests import make_request
from meterseal.mesh.tls import PLATFORM_NAME
from meterseal.security import officerfile, orders
from meterseal.security.passphrase import fresh_stretching, key_encryption_key
from meterseal.security.platformorders import EnrolPlatform, attested_bytes
from meterseal.security.platforms import PARTNER_PURPOSES

_LABEL = "a platform's key"


def apply(
    directory: Path,
    name: str,
    passphrase: bytes,
    *,
    project_id: bytes,
    purposes: tuple[str, ...],
    contact: str,
    request_id: bytes,
    not_after: int,
) -> EnrolPlatform:
    """Make a platform's keys in `directory` and its application for one project (16 bytes), attested by both.

    LocalError `security.platform` for a name or purpose that no platform has, `security.passphrase-short`,
    `security.file` when its files are there already.
    """
    if not PLATFORM_NAME.fullmatch(name) or not purposes or not set(purposes) <= set(PARTNER_PURPOSES):
        raise LocalError(
            "security.platform",
            "A platform has a name of 1 to 32 of a-z, 0-9 and -, and purposes of "
            f"{', '.join(PARTNER_PURPOSES)}; nothing was written.",
        )
    key = Sm2PrivateKey.generate(_LABEL)
    stretching = fresh_stretching()
    kek = key_encryption_key(passphrase, f"platform {name}", stretching)
    tls_request, tls_key = make_request(name, passphrase)
    own = officerfile.KeyFile(
        officer=name,
        roles=(),
        point=key.public_point,
        stretching=stretching,
        sealed=kek.gcm_seal(
            key.to_pkcs8(), b"ms1 platform file\x00" + name.encode() + b"\x00" + key.public_point
        ),
    )
    asked = EnrolPlatform(
        request_id=request_id,
        not_after=not_after,
        project_id=project_id,
        caller=name,
        domain=project_id[8:10],
        business=project_id[10:12],
        contact=contact,
        purposes=tuple(sorted(set(purposes))),
        point=key.public_point,
        tls_request=tls_request,
    )
    asked = structs.replace(asked, attestation=key.sign(attested_bytes(asked)))
    officerfile.write(directory / f"{name}.key", own)
    put(directory / f"{name}.tls.key", tls_key)
    return asked


def request_file(asked: EnrolPlatform, says: dict[str, object]) -> officerfile.RequestFile:
    """The application as it goes to officers."""
    return officerfile.RequestFile(purpose="enrol-platform", says=says, request=orders.encoded(asked))


def put(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a PEM file of mode 0600; LocalError `security.file`."""
    fresh = path.with_name(path.name + ".new") if replace else path
    try:
        if replace:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
    except FileExistsError:
        raise LocalError("security.file", f"{path} is there already; choose another name.") from None
    except OSError as error:
        raise LocalError("security.file", f"{path} cannot be written: {error.strerror}.") from None
