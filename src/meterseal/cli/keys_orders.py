"""`meterseal keys officer|request|sign|submit`: officers, and orders that two of them sign at two places.

It decides nothing: officers' files are `security.officerfile`'s, every rule is the service's.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from meterseal.app import config
from meterseal.app.operator import as_json
from meterseal.app.system import now_ms
from meterseal.cli.keys import Hours, ask, epoch, say, secret
from meterseal.cli.operate import at, plain
from meterseal.errors import LocalError
from meterseal.link.acts import protection
from meterseal.link.firmware import switch_of
from meterseal.model import medium_of
from meterseal.security import (
    anchororders,
    cardorders,
    editorders,
    firmwareorders,
    keyorders,
    ledgerorders,
    manifest,
    officerfile,
    orders,
    papers,
    platformorders,
    reserveorders,
    rootorders,
)
from meterseal.security.commanding import part_frame
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.roster import listed_of

Flag = Parameter(negative=())
HOUR = 3_600_000

PURPOSES: dict[str, type[orders.Request | orders.CommandOrder]] = {
    "officers": orders.OfficerChange,
    "command-policy": orders.CommandPolicyChange,
    "zone": orders.ZoneChange,
    "command": orders.CommandOrder,
    "command-bulk": orders.BulkOrder,
    "key-state": keyorders.KeyStateChange,
    "import-key": keyorders.ImportKey,
    "ca-rotate": rootorders.RotateAuthority,
    "ca-close": rootorders.CloseAuthority,
    "root-quorum": rootorders.NewQuorum,
    "lower-policy": papers.LowerPolicy,
    "withdraw-modules": papers.WithdrawModules,
    "root-share": rootorders.ShareIn,
    "root-kept": rootorders.ShareKept,
    "revoke-platform": papers.RevokePlatform,
    "withdraw-platform": platformorders.WithdrawPlatform,
    "enrol-platform": platformorders.EnrolPlatform,
    "production": manifest.ProductionOrder,
    "trail-reset": anchororders.TrailReset,
    "ledger-reset": ledgerorders.LedgerReset,
    editorders.PURPOSE: editorders.EditOrder,
    "release-module": reserveorders.ReleaseModule,
    **dict.fromkeys(cardorders.NEEDED, cardorders.CardOrder),
}
"""What officers may order with `keys request`, `keys sign` and `keys submit` (cards: `keys module`)."""
ALONE = {"lower-policy", "root-share", "root-kept"} | {
    who for who, needed in cardorders.NEEDED.items() if needed == 1
}
"""Those that one officer signs."""


def officer_new(
    officer: str,
    *,
    role: list[str],
    to: Path = Path(),
    passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Make an officer's key and card; the key stays with the officer, the card is handed in.

    Parameters
    ----------
    officer
        Id of 1 to 32 letters a-z, digits and hyphens.
    role
        What the officer may sign: enrol, keys, ca, command; give it more than once for several.
    to
        Directory for ID.key and ID.card.
    passphrase_file
        Passphrase of the key, mode 0600; typed when absent.
    """
    passphrase = secret(passphrase_file, f"New passphrase for {officer}: ")
    file, card = officerfile.make(officer, tuple(sorted(set(role))), passphrase)
    key_path, card_path = to / f"{officer}.key", to / f"{officer}.card"
    officerfile.write(key_path, file)
    officerfile.write(card_path, card, mode=0o644)
    return say(
        {"officer": officer, "key": str(key_path), "card": str(card_path)},
        as_json_text=json,
        lines=[f"{key_path} stays with {officer}; hand in {card_path}."],
    )


def officer_list(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """List everybody who is or was an officer."""
    found = ask(data, lambda sdk: sdk.officers())
    lines = [
        f"{one.officer:<20} {','.join(one.roles):<24} since {at(one.since)}"
        f"{f', until {at(one.until)}' if one.until is not None else ''}"
        for one in found
    ]
    return say(
        list(found),
        as_json_text=json,
        lines=lines or ["There is no officer yet; found them with: keys officer add"],
    )


def officer_add(
    *cards: Path, data: Path, to: Path | None = None, hours: Hours = 24, json: Annotated[bool, Flag] = False
) -> int:
    """Write the first officers down, or make the request by which two officers let more people join.

    Parameters
    ----------
    cards
        Card files. The first officers are all given at once, at least two with the role enrol.
    to
        Where the request goes when there are officers already; two of them sign it, then it is submitted.
    hours
        How long the request holds, at most 168.
    """
    shown = tuple(officerfile.read(card, orders.OfficerCard) for card in cards)
    if not shown:
        raise LocalError("use.cards", "Name at least one card file.")
    if not ask(data, lambda sdk: sdk.officers()):
        found = ask(data, lambda sdk: sdk.found_officers(orders.Founding(cards=shown)))
        said = "The first officers: " + ", ".join(one.officer for one in found)
        return say(list(found), as_json_text=json, lines=[said])
    return ordered(data, "officers", {"add": shown}, to, hours, as_json_text=json)


def officer_remove(
    *officers: str, data: Path, to: Path, hours: Hours = 24, json: Annotated[bool, Flag] = False
) -> int:
    """Make the request by which two officers remove others.

    Parameters
    ----------
    officers
        Ids of those who leave.
    to
        Where the request goes.
    hours
        How long it holds, at most 168.
    """
    return ordered(data, "officers", {"remove": tuple(officers)}, to, hours, as_json_text=json)


def request(
    purpose: str, *fields: str, data: Path, to: Path, hours: Hours = 24, json: Annotated[bool, Flag] = False
) -> int:
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
    return ordered(data, purpose, values, to, hours, as_json_text=json)


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


def ordered(
    data: Path, purpose: str, values: dict[str, Any], to: Path | None, hours: int, *, as_json_text: bool
) -> int:
    """Write the request of a purpose with these fields for officers to sign, and say what it says."""
    if to is None:
        raise LocalError("use.to", "Officers sign this: say with --to where the request goes.")
    project = bytes.fromhex(config.load(config.Layout(data)).project)
    always: dict[str, Any] = {
        "request_id": orders.fresh_request_id(epoch(data)),
        "not_after": now_ms() + hours * HOUR,
        "project_id": project,
    }
    made = PURPOSES[purpose](**always, **values)
    file = officerfile.RequestFile(purpose=purpose, says=says(made), request=orders.encoded(made))
    officerfile.write(to, file, mode=0o644)
    who = "One officer signs" if purpose in ALONE else "Two officers sign"
    lines = [f"{to}: {purpose}, until {at(made.not_after)}. {who} it: meterseal keys sign {to}"]
    return say({"request": str(to), "says": file.says}, as_json_text=as_json_text, lines=lines)


def says(made: msgspec.Struct) -> dict[str, Any]:
    """The fields of a request in words for people."""
    fields: dict[str, Any] = json_module.loads(as_json(msgspec.structs.asdict(made)))
    if isinstance(made, orders.CommandOrder):
        frame, _ = parse_frame(made.frame)
        fields["meter"] = frame.device_id.hex()
        fields["does"] = _does(frame, frame.device_id)
    if isinstance(made, papers.WithdrawModules):
        fields["modules"] = len(made.module_ids)
    if isinstance(made, orders.BulkOrder):
        fields["devices"] = sum(len(part.device_ids) for part in made.parts)
        fields["does"] = [
            _does(part_frame(part, part.device_ids[0]), part.device_ids[0])
            for part in made.parts
            if part.device_ids
        ]
    return fields


def _does(frame: Frame, device_id: bytes) -> str:
    """What a frame does and with which values, read from its bytes: what an officer signs, and not what it is called."""
    row = protection(frame, medium_of(device_id) or "water")
    meaning = interpret(frame)
    values = [f"{name} {value.shown} {value.unit or ''}".strip() for name, value in meaning.readings.items()]
    values += [meaning.clock] if meaning.clock is not None else []
    digest = switch_of(frame)
    values += [f"manifest {digest.hex()}"] if digest is not None else []
    listed = listed_of(frame)
    values += [f"bus {listed.bus} {listed.model}".strip()] if listed is not None else []
    return ", ".join([f"{row.english} {row.chinese}", *values])


def sign(
    file: Path,
    *,
    key: Path,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
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
        as_json_text=json,
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


def submit(file: Path, *, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Hand a signed request to the running service, which carries it out once.

    Parameters
    ----------
    file
        The request with its signatures.
    """
    order = officerfile.read(file, officerfile.RequestFile).order
    done = ask(data, lambda sdk: sdk.submit(order))
    lines = [f"{done.sentence} Ordered by {', '.join(done.officers)}."]
    return say(done, as_json_text=json, lines=lines)
