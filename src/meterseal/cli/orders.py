"""Orders that officers sign at their own places: what kinds there are, how a request is written, and what it says.

It decides nothing and signs nothing; every rule is the service's.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

import msgspec

from meterseal.app import config
from meterseal.app.clock import now_ms
from meterseal.app.operator import as_json
from meterseal.cli.answers import say
from meterseal.cli.calls import epoch
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.link.acts import protection
from meterseal.link.firmware import switch_of
from meterseal.model import medium_of
from meterseal.security import (
    anchororders,
    cardorders,
    editorders,
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


def ordered(
    data: Path, purpose: str, values: dict[str, Any], to: Path | None, hours: int, *, as_json: bool
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
    return say({"request": str(to), "says": file.says}, as_json=as_json, lines=lines)


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
