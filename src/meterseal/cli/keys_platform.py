"""`meterseal keys platform …`: another's platform from its application to its certificate, and how it is withdrawn.

It decides nothing: two officers sign the application, the service enrols and issues, and answers the platform by
`security.sdk_platforms`.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from meterseal.app import config
from meterseal.app.clock import now_ms
from meterseal.app.listening import Listening
from meterseal.app.operator import as_json
from meterseal.cli import keys_orders
from meterseal.cli.answers import say
from meterseal.cli.arguments import Data, Hours, Json
from meterseal.cli.calls import ask, ask_keys, epoch
from meterseal.cli.orders import HOUR
from meterseal.cli.passphrases import secret
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.hostport import written
from meterseal.mesh.rpc import Empty
from meterseal.security import officerfile, orders, platformfile


def request(
    name: str,
    *,
    purpose: list[str],
    contact: str,
    to: Path = Path(),
    data: Path | None = None,
    project: str = "",
    epoch_id: Annotated[str, Parameter(name="--epoch")] = "",
    hours: Hours = 24,
    passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Make a platform's keys and its application, which two officers of the system sign; the keys stay here.

    Parameters
    ----------
    name
        1 to 32 letters a-z, digits and hyphens; the certificate will carry it.
    purpose
        What it will ask for: trail (certificates and revocation lists), modules (facts of modules, evidence), link
        (sessions with modules), commands (authorisations that officers sign); give it more than once for several.
    contact
        Whom to call about it; kept sealed.
    to
        Directory for NAME.request (to hand in), NAME.key and NAME.tls.key (to keep).
    data
        Data directory of the running system, where the platform is made beside it.
    project
        Otherwise, the project id of the system: 32 hex digits.
    epoch_id
        Otherwise, what request ids of the system begin with since it was restored, in hex; its operator sees it with
        `keys platform list --json`.
    hours
        How long the application holds, at most 168.
    passphrase_file
        Passphrase of both keys, mode 0600; typed when absent.
    """
    try:
        begun = epoch(data) if data is not None else bytes.fromhex(epoch_id)
        text = config.load(config.Layout(data)).project if data is not None else project
        project_id = bytes.fromhex(text)
    except ValueError:
        project_id = begun = b""
    if len(project_id) != 16 or len(begun) > orders.REQUEST_ID:
        raise LocalError(
            "use.project",
            "Say which system: --data DIR beside it, or --project with 32 hex digits elsewhere.",
        )
    asked = platformfile.apply(
        to,
        name,
        secret(passphrase_file, f"New passphrase for the keys of {name}: "),
        project_id=project_id,
        purposes=tuple(purpose),
        contact=contact,
        request_id=orders.fresh_request_id(begun),
        not_after=now_ms() + hours * HOUR,
    )
    says: dict[str, Any] = json_module.loads(as_json(msgspec.structs.asdict(asked)))
    path = to / f"{name}.request"
    officerfile.write(path, platformfile.request_file(asked, says), mode=0o644)
    lines = [
        f"{path}: application of {name}, until {at(asked.not_after)}. Two officers sign it: meterseal keys platform "
        f"sign {path} --key FILE",
        f"{to / f'{name}.key'} and {to / f'{name}.tls.key'} stay with the platform.",
    ]
    return say({"request": str(path), "says": says}, as_json=json, lines=lines)


def enrol(file: Path, *, data: Data, json: Json = False) -> int:
    """Hand a signed application to the running service, which enrols the platform.

    Parameters
    ----------
    file
        The application with the signatures of two officers.
    """
    return keys_orders.submit(file, data=data, json=json)


def certificate(name: str, *, data: Data, to: Path = Path(), json: Json = False) -> int:
    """Write an enrolled platform's certificate and our TLS root, to be put beside its key; say where to call.

    Parameters
    ----------
    name
        The platform.
    to
        Directory for NAME.crt and root.crt; older ones are replaced.
    """
    given = ask_keys(data, lambda sdk: sdk.platform_certificate(name))
    heard = ask(data, "listening", Empty(), Listening)
    own, root = to / f"{name}.crt", to / "root.crt"
    platformfile.put(root, given.root, replace=True)
    platformfile.put(own, given.certificate, replace=True)
    said = {"certificate": str(own), "root": str(root), "host": heard.host, "port": heard.platforms}
    lines = [
        f"{own} and {root}: beside {name}.tls.key, call {written(heard.host, heard.platforms)} with them."
    ]
    return say(said, as_json=json, lines=lines)


def list_platforms(*, data: Data, json: Json = False) -> int:
    """List every platform that is or was enrolled, what for, and how often it called."""
    found = ask_keys(data, lambda sdk: sdk.platforms())
    lines = [
        f"{one.caller:<28} {','.join(one.purposes):<32} since {at(one.enrolled_at)}"
        f"{f', withdrawn {at(one.withdrawn_at)}' if one.withdrawn_at is not None else ''}"
        f"  calls: {', '.join(f'{purpose} {count}' for purpose, count in one.calls.items()) or 'none'}"
        for one in found
    ]
    said = {"platforms": json_module.loads(as_json(list(found))), "epoch": epoch(data).hex()}
    return say(said, as_json=json, lines=lines)


def sessions(name: str, *, data: Data, json: Json = False) -> int:
    """List the meters whose module has its newest session with a platform, and until when it seals in it at most.

    A withdrawn platform opens no session any more and keeps the keys of these. A meter that shakes hands with our
    head-end leaves its session before that end.

    Parameters
    ----------
    name
        The platform.
    """
    found = ask_keys(data, lambda sdk: sdk.lent_sessions(name))
    lines = [
        f"{one.device_id.hex()}  module {one.module_id.hex()}  until {at(one.until)}"
        for one in found.sessions
    ]
    if found.count > len(found.sessions):
        lines.append(f"and {found.count - len(found.sessions)} more, the last until {at(found.until)}")
    return say(found, as_json=json, lines=lines or [f"No module has its newest session with {name}."])


def withdraw(name: str, *, reason: str, data: Data, to: Path, hours: Hours = 24, json: Json = False) -> int:
    """Make the request by which two officers withdraw a platform; from then on it is answered nothing.

    Parameters
    ----------
    name
        The platform.
    reason
        What the audit log keeps.
    to
        Where the request goes.
    hours
        How long it holds, at most 168.
    """
    fields = (f"caller={name}", f"reason={reason}")
    return keys_orders.request("withdraw-platform", *fields, data=data, to=to, hours=hours, json=json)
