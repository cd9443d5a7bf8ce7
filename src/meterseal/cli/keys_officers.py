"""`meterseal keys officer …`: officers' keys and cards, who they are, who joins and leaves.

It decides nothing: officers' files are `security.officerfile`'s, every rule is the service's.
"""

from __future__ import annotations

from pathlib import Path

from meterseal.cli.answers import say
from meterseal.cli.arguments import Data, Hours, Json
from meterseal.cli.calls import ask_keys
from meterseal.cli.orders import ordered
from meterseal.cli.passphrases import secret
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.security import officerfile, orders


def officer_new(
    officer: str,
    *,
    role: list[str],
    to: Path = Path(),
    passphrase_file: Path | None = None,
    json: Json = False,
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
        as_json=json,
        lines=[f"{key_path} stays with {officer}; hand in {card_path}."],
    )


def officer_list(*, data: Data, json: Json = False) -> int:
    """List everybody who is or was an officer."""
    found = ask_keys(data, lambda sdk: sdk.officers())
    lines = [
        f"{one.officer:<20} {','.join(one.roles):<24} since {at(one.since)}"
        f"{f', until {at(one.until)}' if one.until is not None else ''}"
        for one in found
    ]
    return say(
        list(found),
        as_json=json,
        lines=lines or ["There is no officer yet; found them with: keys officer add"],
    )


def officer_add(
    *cards: Path, data: Data, to: Path | None = None, hours: Hours = 24, json: Json = False
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
    if not ask_keys(data, lambda sdk: sdk.officers()):
        found = ask_keys(data, lambda sdk: sdk.found_officers(orders.Founding(cards=shown)))
        said = "The first officers: " + ", ".join(one.officer for one in found)
        return say(list(found), as_json=json, lines=[said])
    return ordered(data, "officers", {"add": shown}, to, hours, as_json=json)


def officer_remove(*officers: str, data: Data, to: Path, hours: Hours = 24, json: Json = False) -> int:
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
    return ordered(data, "officers", {"remove": tuple(officers)}, to, hours, as_json=json)
