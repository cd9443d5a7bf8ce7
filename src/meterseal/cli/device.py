"""`meterseal device issue|seal|list`: devices that join a running system, and those in place.

It opens no file of the system; commands to devices are `cli.command`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from meterseal.app import config, operator
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.passphrases import secret
from meterseal.cli.times import day
from meterseal.errors import LocalError
from meterseal.link.profiles import OURS
from meterseal.model import Medium

_TLS = {"certificate": ".crt", "key": ".key", "root": ".root.crt"}


def issue(
    *,
    data: Path,
    lab: bool = False,
    medium: Medium = "water",
    suite: Literal[1, 2] = 1,
    device_id: str = "",
    module_id: str = "",
    since: str = "",
    billing_day: int = 1,
    tariff: str = "",
    json: Json = False,
) -> int:
    """Enrol a device of a lab project with a usage point and an agreement, and print its credentials.

    Parameters
    ----------
    data
        Data directory of the running system; it must have been started with --lab.
    lab
        Required: says that you know the credentials are printed in clear.
    medium
        What it measures.
    suite
        1 with certificates and SM2, 2 with SM4 alone.
    device_id
        16 hex digits; a fresh one is made when absent.
    module_id
        16 hex digits; a fresh one is made when absent.
    since
        First local day of its agreement, YYYY-MM-DD; by default the first day of the month before last.
    billing_day
        Day of the month on which a billing month begins.
    tariff
        Code of the tariff; by default the sample tariff of the medium.
    """
    if not lab:
        raise LocalError("use.lab", "Credentials are printed in clear only on request: add --lab.")
    request = operator.LabIssue(
        medium=medium,
        suite=suite,
        device_id=device_id_of(device_id) if device_id else b"",
        module_id=device_id_of(module_id) if module_id else b"",
        since=day(since) if since else 0,
        billing_day=billing_day,
        tariff=tariff,
    )
    answer = ask(data, "lab_issue", request, operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda issued: [f"{key:<14} {_wrap(value)}" for key, value in issued.items()],
    )
    return 0


def _wrap(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def devices(*, data: Data, json: Json = False) -> int:
    """List every meter in place."""
    answer = ask(data, "devices", operator.Page(), operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda rows: [
            f"{row['device_id']}  {row['medium']:<12} {row['protocol']}  "
            f"{'plain' if row['plain'] else 'suite ' + str(row['suite'])}  {row['usage_point']}"
            for row in rows
        ],
    )
    return 0


def seal(
    meter: str,
    *,
    data: Data,
    module_id: str,
    module_point: str,
    to: Path,
    suite: Literal[1, 2] = 1,
    security_profile: str = OURS.name,
    json: Json = False,
) -> int:
    """Give a plain meter in place a module: no concentrator vouches for it from then on; its usage point and bills stay.

    Repeating it with the same module completes what was cut off.

    Parameters
    ----------
    meter
        Device id of the meter, 16 hex digits.
    module_id
        Id of the module, 16 hex digits.
    module_point
        SM2 public point that was made inside the module, 130 hex digits.
    to
        The file with what the module is personalised with (msgpack); only that module opens it.
    suite
        1 with certificates and SM2, 2 with SM4 alone.
    security_profile
        How the module seals; it keeps it for good.
    """
    try:
        point = bytes.fromhex(module_point)
    except ValueError:
        raise LocalError(
            "use.module", "The module's public point is 130 hex digits, as the module shows it."
        ) from None
    if to.exists():
        raise LocalError("use.file", f"{to} is there already; choose another name. Nothing was changed.")
    request = operator.SealMeter(
        device_id=device_id_of(meter),
        module_id=device_id_of(module_id),
        module_point=point,
        suite=suite,
        security_profile=security_profile,
    )
    answer = ask(data, "seal_meter", request, operator.Sealed)
    to.write_bytes(answer.personalisation)
    document = {"device_id": request.device_id, "usage_point": answer.usage_point, "file": str(to)}
    show(
        operator.as_json(document),
        as_json=json,
        lines=lambda sealed: [
            f"{sealed['device_id']} has a module now, nobody vouches for it any more. Personalise it with {to}."
        ],
    )
    return 0


def renew_tls(
    concentrator: str,
    *,
    data: Data,
    to: Path,
    key_passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Give an enrolled concentrator a new TLS certificate, key and root: before its own ends, or under a new TLS root.

    Parameters
    ----------
    concentrator
        Its device id, 16 hex digits that begin with F0.
    to
        Directory for ID.crt, ID.key and ID.root.crt; put them in place of the concentrator's and start it again.
    key_passphrase_file
        The password that the concentrator opens its key with, mode 0600; typed when absent.
    """
    device_id = device_id_of(concentrator)
    names = {part: to / f"{device_id.hex()}{end}" for part, end in _TLS.items()}
    there = next((path for path in names.values() if path.exists()), None)
    if there is not None:
        raise LocalError(
            "use.file", f"{there} is there already; choose another directory. Nothing was issued."
        )
    password = secret(key_passphrase_file, f"Password of the key of {device_id.hex()}: ")
    request = operator.RenewConcentrator(device_id=device_id, key_password=password)
    made = ask(data, "renew_concentrator", request, operator.TlsFiles)
    for part, path in names.items():
        config.replace_file(path, getattr(made, part))
    show(
        operator.as_json({part: str(path) for part, path in names.items()}),
        as_json=json,
        lines=lambda files: [f"{part:<12} {path}" for part, path in files.items()],
    )
    return 0
