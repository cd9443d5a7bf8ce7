"""`meterseal account|customer …`: ways in for people, the end of their agreement, and their erasure.

It opens no store: the running system does what is said here.
"""

from __future__ import annotations

import json as json_module
import sys
from typing import Any

from msgspec.structs import replace

from meterseal.app import operator
from meterseal.app.listening import Listening
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at, day
from meterseal.errors import LocalError
from meterseal.hostport import written
from meterseal.mesh.rpc import Empty


def account_link(
    *,
    data: Data,
    resident: str = "",
    account: str = "",
    new: bool = False,
    json: Json = False,
) -> int:
    """Print a one-time sign-in link for the operator, or for the resident behind a meter.

    Parameters
    ----------
    resident
        Device id of one of the resident's meters, 16 hex digits.
    account
        Sign-in name of the account it is for, such as o-7k3mq2xp.
    new
        Make an account for one more operator: who asks for an edit of readings is not who hands its signatures in.
    """
    if [bool(resident), bool(account), new].count(True) > 1:
        raise LocalError("use.account", "Say --resident, --account or --new, one of them. No link was made.")
    request = operator.Account(account_id=account, new=new)
    if resident:
        request = operator.Account(role="resident", device_id=device_id_of(resident))
    link = ask(data, "account_link", request, operator.Link)
    where = ask(data, "listening", Empty(), Listening)
    url = f"http://{written(where.host, where.web)}{link.path}"
    said = {"url": url, "expires_at": link.expires_at, "account": link.account_id}
    print(json_module.dumps(said) if json else url)
    return 0


def customer_end(meter: str, *, data: Data, until: str, json: Json = False) -> int:
    """End the agreement that bills a meter: its last bill goes up to this day, and nobody is billed from it on.

    Saying the same again changes nothing. The meter stays where it is and goes on being read.

    Parameters
    ----------
    meter
        Its device id, 16 hex digits.
    until
        The first day that is not billed any more, YYYY-MM-DD; it may lie ahead.
    """
    request = operator.EndAgreement(device_id=device_id_of(meter), until=day(until))
    answer = ask(data, "customer_end", request, operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda ended: [f"agreement {ended['agreement']} of {ended['usage_point']} ends before {until}"],
    )
    return 0


def customer_erase(
    customer_id: str = "", *, data: Data, meter: str = "", yes: bool = False, json: Json = False
) -> int:
    """Erase a person for good: name, address, key and every way to sign in. Bills stay, without the name.

    Parameters
    ----------
    customer_id
        The customer's id; or name one of the meters with --meter.
    meter
        Device id of one of the person's meters, 16 hex digits.
    yes
        Do not ask for the customer's id once more; a script needs it.
    """
    if bool(customer_id) == bool(meter):
        raise LocalError(
            "use.customer", "Say who is erased: a customer id, or --meter with one of the person's meters."
        )
    request = operator.EraseCustomer(customer_id=customer_id, device_id=device_id_of(meter) if meter else b"")
    if not yes:
        found = ask(data, "customer_erase", replace(request, dry_run=True), operator.Text)
        _typed_again(json_module.loads(found.json))
    answer = ask(data, "customer_erase", request, operator.Text, timeout=LONG_RUN)
    show(
        answer.json,
        as_json=json,
        lines=lambda done: [
            f"customer {done['customer_id']} erased at {at(done['erased_at'])}"
            + (", and had been before" if done["before"] else f"; {done['accounts']} accounts ended")
        ],
    )
    return 0


def _typed_again(found: dict[str, Any]) -> None:
    """LocalError `use.yes` where nobody can type, `use.customer` unless the id is typed; then nothing is erased."""
    who = found["customer_id"]
    if not sys.stdin.isatty():
        raise LocalError(
            "use.yes",
            f"This erases customer {who} for good, and nobody can be asked here. Add --yes to erase; nothing was done.",
        )
    ends = f"{found['accounts']} accounts end"
    state = (
        f"was erased at {at(found['erased_at'])} already"
        if found["before"]
        else f"is erased for good; {ends}"
    )
    print(f"Customer {who} {state}. Name, address and key cannot be brought back.", file=sys.stderr)
    print("Type the customer's id to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline(128).strip() != who:
        raise LocalError("use.customer", f"That is not the id of customer {who}; nobody was erased.")
