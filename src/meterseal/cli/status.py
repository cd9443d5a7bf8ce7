"""`meterseal status|audit|reseal`: what the running system holds and refused, and the renewal of its data keys.

It counts nothing itself; what was said to meters is `cli.words`'s.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from meterseal.app import operator
from meterseal.app.alarming import Alarms, Since
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, Limit
from meterseal.cli.calls import ask, ask_keys
from meterseal.cli.times import at
from meterseal.errors import EngineError
from meterseal.mdms.reconciliation import OUTCOMES
from meterseal.security.messages import KeyFacts
from meterseal.security.nearing import Nearing, nearing
from meterseal.security.orders import CommandRoom


def reseal(*, data: Data, json: Json = False) -> int:
    """Begin new data keys; what is stored moves to them in the background. `meterseal status` counts what remains."""
    answer = ask(data, "data_keys_renew", operator.Page(), operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda begun: [
            f"new data keys are in use; {begun['to_reseal']} sealed pieces stand under older ones and move in the "
            "background (to_reseal of meterseal status)"
        ],
    )
    return 0


def audit(*, data: Data, limit: Limit = 20, json: Json = False) -> int:
    """Show the newest refused messages; verify the audit trail's chain and compare it with its anchor."""
    answer = ask(data, "audit", operator.Page(limit=limit), operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda found: [
            *(
                f"{row['id']:>6}  {at(row['at'])}  {row['code']:<20} {row['device_id'] or '-':<16}  {row['sentence']}"
                for row in found["entries"]
            ),
            f"chain of {found['verified']} entries holds, "
            + (
                "not compared with its anchor: the security service is away"
                if found["anchored"] is None
                else f"anchored up to {found['anchored']}"
            ),
        ],
    )
    return 0


def status(*, data: Data, prometheus: bool = False, json: Json = False) -> int:
    """Count what the running system holds, what it refused by code, what waits for meters, and which keys come near their
    limit of uses; status 1 when its audit trail was changed.

    Of what came by each way, `stored` counts what meters marked as missing, too; `readings` and `missing` say both apart.
    Estimates are in neither.

    Parameters
    ----------
    prometheus
        Print the counters in Prometheus' text format, key uses with them.
    """
    counts = ask(data, "counts", operator.Page(), operator.Counts)
    alarms = ask(data, "alarms", Since(), Alarms)
    if prometheus:
        from meterseal.cli.prometheus import exposition

        print(exposition(counts, alarms, _key_uses(data)), end="")
    else:
        keys = _key_uses(data)
        near = {"keys": None if keys is None else json_module.loads(operator.as_json(nearing(keys)))}
        text = json_module.dumps(
            json_module.loads(operator.as_json(counts)) | json_module.loads(operator.as_json(alarms)) | near,
            ensure_ascii=False,
        )
        show(text, as_json=json, lines=_status_lines)
    return 1 if counts.audit_ok is False else 0


def _key_uses(data: Path) -> Sequence[KeyFacts] | None:
    """Every key with its uses; None while the security service is away."""
    try:
        return ask_keys(data, lambda sdk: sdk.usage(), timeout=60.0).keys
    except EngineError:
        return None


def _near(one: dict[str, Any]) -> str:
    return msgspec.convert(one, Nearing).sentence


def _reconciled(lines: list[dict[str, Any]]) -> list[str]:
    """What became of every delivered reading, a line for each way."""
    said = []
    for way in sorted({one["way"] for one in lines}):
        here = [one for one in lines if one["way"] == way]
        sums = {name: sum(one[name] for one in here) for name in ("received", *OUTCOMES)}
        parts = " + ".join(f"{sums[name]} {name}" for name in OUTCOMES)
        newest = max(here, key=lambda one: int(one["hour_at"]))["received"]
        said.append(f"{way:<14} {sums['received']} readings = {parts}; newest hour {newest}")
    return said


def _status_lines(found: dict[str, Any]) -> list[str]:
    from meterseal.cli.words import limits

    lists = ("alarms", "words", "room", "keys", "reconciled", "audit_broken", "keys_put_back_at", "troubles")
    lines = [f"KEY LIMIT {one['level'].upper()}: {_near(one)}" for one in found["keys"] or ()]
    lines += [f"{one['what'].upper()}: {one['sentence']}" for one in found["troubles"]]
    if found["audit_ok"] is False:
        lines.append(f"THE AUDIT TRAIL DOES NOT HOLD: {found['audit_broken']}")
    if found["keys_put_back_at"] is not None:
        lines.append(
            f"THE KEYS WERE PUT BACK TO AN OLDER STATE, seen {at(found['keys_put_back_at'])}: meterseal audit"
        )
    lines += [
        f"{key:<14} {'not known' if value is None else value}"
        for key, value in found.items()
        if key not in lists
    ]
    lines += _reconciled(found["reconciled"])
    for one in found["alarms"]:
        said = "held" if one["held"] else "refused"
        lines.append(f"{said:<14} {one['count']} {one['code']} ({one['alarm']}, last {at(one['last_at'])})")
    lines += [
        f"{kind:<14} {number} {state}" for kind, by in found["words"].items() for state, number in by.items()
    ]
    if found["room"] is not None:
        lines += limits(msgspec.convert(found["room"], CommandRoom))
    return lines
