"""`meterseal bill bundle` and `bill check`: hand a bill out with what proves it, and check such a bundle anywhere.

`check` opens no system and asks nobody; the one thing it trusts is a root certificate.
"""

from __future__ import annotations

import os
from pathlib import Path

from meterseal.app import operator
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.model import EXPORT
from meterseal.utility import bundle as bundles
from meterseal.utility.views import MEANING

_SIGNED = {
    "meter": "signed by the meter",
    "platform": "attested by the platform alone (suite 2)",
    "concentrator": "vouched for by a concentrator",
    "estimate": "an estimate",
    "nobody": "signed by nobody",
}


def bundle(bill_id: str, *, data: Data, to: Path, json: Json = False) -> int:
    """Write a bill with the meters' signatures and its place in the ledger. It holds salts: it is for its customer alone.

    Parameters
    ----------
    bill_id
        The bill, as `meterseal bill list` shows it.
    to
        The new file.
    """
    answer = ask(data, "bill_bundle", operator.BillQuery(bill_id=bill_id), operator.Text, timeout=LONG_RUN)
    try:
        descriptor = os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(answer.json + "\n")
    except OSError as error:
        raise LocalError("use.file", f"{to} cannot be written: {error.strerror}.") from None
    show(operator.as_json({"file": str(to), "bill_id": bill_id}), as_json=json, lines=lambda _: [str(to)])
    return 0


def check(file: Path, *, root: Path | None = None, json: Json = False) -> int:
    """Check a bundle: arithmetic, signatures, ledger; status 1 when something does not hold.

    Parameters
    ----------
    file
        What `meterseal bill bundle` wrote.
    root
        The root certificate (DER) that is trusted. Without it the bundle's own is taken: compare what is printed of it.
    """
    checked = bundles.check(
        bundles.unpacked(_read(file, bundles.LARGEST)),
        None if root is None else _read(root, 4096),
    )
    lines = [f"bill {checked.bill_id}"]
    lines += [f"  {one.name:<8} {one.amount_fen / 100:>10.2f}  {one.assurance}" for one in checked.lines]
    lines += [
        f"  times {one.multiplier:>9} from {at(one.since)} to {at(one.until)}: stated by the utility"
        for one in checked.multipliers
    ]
    for one in checked.registers:
        value = f"{one.register}e{one.exponent}"
        held = ", ".join(map(str, one.leaves))
        name = "fed in" if one.channel == EXPORT else "register"
        lines.append(
            f"  {name:<8} {value:>14} at {at(one.end_at)}: {_SIGNED[one.signed_by]}"
            + (f"; in the ledger as leaf {held}" if held else "")
        )
    lines += [f"  {word}: {MEANING[word]}" for word in dict.fromkeys(one.assurance for one in checked.lines)]
    lines.append(
        f"  ledger: checkpoint {checked.checkpoint} of {at(checked.checkpoint_at)} over {checked.leaves} leaves"
        if checked.checkpoint
        else "  ledger: none, the bundle is from before there was one"
        if checked.good
        else "  ledger: no checkpoint that holds"
    )
    lines.append(f"  root certificate: SM3 {checked.root}")
    lines += [f"  does not hold: {fault}" for fault in checked.faults]
    lines.append("everything holds" if checked.good else "the bundle does not prove this bill")
    show(operator.as_json(checked), as_json=json, lines=lambda _: lines)
    return 0 if checked.good else 1


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise LocalError("use.file", f"{path} cannot be read: {error.strerror}.") from None
