"""`meterseal keys request|sign|submit`: an order from its fields to its signatures at two places, and into the service.

It decides nothing; what kinds of orders there are is `cli.orders`'s, every rule the service's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from meterseal.cli.answers import plain, say
from meterseal.cli.arguments import Data, Hours, Json
from meterseal.cli.calls import ask_keys
from meterseal.cli.orders import PURPOSES, ordered, says
from meterseal.cli.passphrases import secret
from meterseal.errors import LocalError
from meterseal.security import (
    firmwareorders,
    officerfile,
    orders,
)

HOUR = 3_600_000


def request(purpose: str, *fields: str, data: Data, to: Path, hours: Hours = 24, json: Json = False) -> int:
    """Make a request for officers: `keys request key-state key_id=DIAK version=1 state=withdrawn --to FILE`.

    Parameters
    ----------
    purpose
        command-policy, key-state, import-key, ca-rotate, ca-close, root-quorum, lower-policy, revoke-platform,
        withdraw-platform, trail-reset, ledger-reset, release-module, withdraw-modules; for `keys module`: card-check,
        card-rights, card-lock, card-unlock, card-destroy.
    fields
        NAME=VALUE for each field of that request (none of them, and it says which there are); bytes as hex, several
        between commas or NAME=@FILE with one a line.
    to
        Where the request goes.
    hours
        How long it holds, at most 168.
    """
    kind = PURPOSES.get(purpose)
    if kind is None:
        raise LocalError("use.purpose", f"`{purpose}` is no purpose: give one of {', '.join(PURPOSES)}.")
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    wanted = set(known) - {"request_id", "not_after", "project_id"}
    needed = {name for name in wanted if known[name].required}
    given = dict(field.partition("=")[::2] for field in fields)
    if not needed <= set(given) <= wanted or any("=" not in field for field in fields):
        named = ", ".join(
            name if name in needed else f"{name} (optional)" for name in known if name in wanted
        )
        raise LocalError(
            "use.fields", f"`{purpose}` has the fields {named or 'none'}; give them as NAME=VALUE."
        )
    try:
        values = {name: _value(text, known[name].type) for name, text in given.items()}
    except ValueError:
        raise LocalError(
            "use.fields", "A number, a hex string or true/false is wrong in these fields."
        ) from None
    return ordered(data, purpose, values, to, hours, as_json=json)


def _value(text: str, kind: Any) -> Any:
    if kind is bytes:
        return bytes.fromhex(text)
    if kind is bool:
        return {"true": True, "false": False}[text] if text in ("true", "false") else int("x")
    if kind == tuple[str, ...]:
        return _listed(text)
    if kind == tuple[bytes, ...]:
        return tuple(bytes.fromhex(one) for one in _listed(text))
    return int(text) if kind is int else text


def _listed(text: str) -> tuple[str, ...]:
    """Values between commas, or those of a file, one a line; lines that are empty or begin with # say nothing."""
    if not text.startswith("@"):
        return tuple(text.split(","))
    try:
        lines = Path(text[1:]).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise LocalError("use.file", f"{text[1:]} cannot be read: {why}.") from None
    return tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def sign(
    file: Path,
    *,
    key: Path,
    passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Show what a request says, read from the very bytes that are signed, and add an officer's signature.

    Parameters
    ----------
    file
        The request; it is written anew with the signature.
    key
        The officer's key file.
    passphrase_file
        Passphrase of the key, mode 0600; typed when absent.
    """
    asked = officerfile.read(file, officerfile.RequestFile)
    shown = _shown(asked)
    own = officerfile.read(key, officerfile.KeyFile)
    if asked.purpose == firmwareorders.ROOT and not firmwareorders.names(
        asked.request, own.officer, own.point
    ):
        raise LocalError(
            "use.key", f"This gives {own.officer} another key than {key} has; nothing was signed."
        )
    if not json:
        print(f"{asked.purpose}:")
        print("\n".join(plain(f"  {name:<12} {value}") for name, value in shown.items()))
    signing = officerfile.unlock(own, secret(passphrase_file, f"Passphrase of {own.officer}: "))
    done = officerfile.signed(msgspec.structs.replace(asked, says=shown), own.officer, signing)
    officerfile.write(file, done, mode=0o644, replace=True)
    people = [one.officer for one in done.signatures]
    return say(
        {"request": str(file), "says": shown, "signed": people},
        as_json=json,
        lines=[f"signed by {', '.join(people)}"],
    )


def _shown(asked: officerfile.RequestFile) -> dict[str, Any]:
    if asked.purpose in firmwareorders.PURPOSES:
        return firmwareorders.says(asked.purpose, asked.request)
    kind = PURPOSES.get(asked.purpose)
    if kind is None:
        raise LocalError(
            "use.purpose", f"This version knows no purpose `{asked.purpose}`; nothing was signed."
        )
    return says(orders.decoded(asked.request, kind))


def submit(file: Path, *, data: Data, json: Json = False) -> int:
    """Hand a signed request to the running service, which carries it out once.

    Parameters
    ----------
    file
        The request with its signatures.
    """
    order = officerfile.read(file, officerfile.RequestFile).order
    done = ask_keys(data, lambda sdk: sdk.submit(order))
    lines = [f"{done.sentence} Ordered by {', '.join(done.officers)}."]
    return say(done, as_json=json, lines=lines)
