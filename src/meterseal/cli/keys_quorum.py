"""`meterseal keys quorum …`: the ceremony that shares the root among officers, and its opening for one act.

It sees no share in clear but the one that its officer seals anew; every rule is the service's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import Struct

from meterseal.cli.keys import ask, say, secret, system_passphrase
from meterseal.crypto import sm2
from meterseal.errors import LocalError
from meterseal.security import officerfile

Flag = Parameter(negative=())


class ShareFile(Struct, frozen=True, kw_only=True):
    """A share that only its officer's key opens; kept by the officer."""

    officer: str
    sealed: bytes


class ShownFile(Struct, frozen=True, kw_only=True):
    """A share on its way into one opening: sealed to the point of that ceremony."""

    officer: str
    sealed: bytes


def show(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Say who opens the root."""
    facts = ask(data, lambda sdk: sdk.quorum())
    return say(
        {
            "threshold": facts.threshold,
            "people": facts.people,
            "present": facts.present,
            "says": facts.sentence,
        },
        as_json_text=json,
        lines=[facts.sentence],
    )


def begin(
    quorum: str,
    *officers: str,
    data: Path,
    to: Path,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Share the root among officers; it counts once every one of them has shown their share (`seal`, `confirm`).

    Parameters
    ----------
    quorum
        m/n, such as 2/3.
    officers
        Ids of the n officers.
    to
        Directory for ID.share of each officer.
    passphrase_file
        Passphrase of the vaults, when it is not beside the data directory.
    """
    needed, _, people = quorum.partition("/")
    if not needed.isdigit() or people != str(len(officers)):
        raise LocalError(
            "use.quorum", f"`{quorum}` does not fit {len(officers)} officers: give m/n and n ids."
        )
    passphrase = system_passphrase(data, passphrase_file)
    begun = ask(data, lambda sdk: sdk.quorum_begin(int(needed), officers, passphrase))
    for share in begun.shares:
        officerfile.write(
            to / f"{share.officer}.share", ShareFile(officer=share.officer, sealed=share.sealed)
        )
    return say(
        {"point": begun.point.hex(), "shares": [share.officer for share in begun.shares]},
        as_json_text=json,
        lines=[
            f"Each officer keeps their share and shows it: meterseal keys quorum seal SHARE --point {begun.point.hex()}"
        ],
    )


def seal(
    share: Path,
    *,
    key: Path,
    point: str,
    to: Path,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Open your share with your key and seal it for one ceremony.

    Parameters
    ----------
    share
        Your share file.
    key
        Your key file.
    point
        The ceremony's point, as `begin` or `ceremony` printed it.
    to
        The file to hand in.
    passphrase_file
        Passphrase of your key, mode 0600; typed when absent.
    """
    own = officerfile.read(key, officerfile.KeyFile)
    kept = officerfile.read(share, ShareFile)
    try:
        ceremony = bytes.fromhex(point)
    except ValueError:
        raise LocalError("use.point", "The point is 130 hex digits, as the ceremony printed it.") from None
    opened = officerfile.unlock(own, secret(passphrase_file, f"Passphrase of {own.officer}: ")).decrypt(
        kept.sealed
    )
    officerfile.write(to, ShownFile(officer=own.officer, sealed=sm2.encrypt(ceremony, opened)))
    return say({"officer": own.officer, "file": str(to)}, as_json_text=json, lines=[f"Hand in {to}."])


def confirm(*shown: Path, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Hand in what every officer sealed: from then on the quorum opens the root, and no passphrase does.

    Parameters
    ----------
    shown
        The files of all officers.
    """
    sealed = [officerfile.read(one, ShownFile).sealed for one in shown]
    facts = ask(data, lambda sdk: sdk.quorum_confirm(sealed))
    return say(facts, as_json_text=json, lines=[facts.sentence])


def ceremony(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Begin an opening: print the point that officers seal their shares to."""
    point = ask(data, lambda sdk: sdk.root_ceremony()).hex()
    return say({"point": point}, as_json_text=json, lines=[point])


def open_root(
    *shown: Path,
    data: Path,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Open the root for one act within five minutes: with officers' shares, or by the passphrase in the lab default.

    Parameters
    ----------
    shown
        The files that officers sealed for this ceremony; none in the lab default.
    passphrase_file
        For the lab default, where the passphrase lies, when not beside the data directory.
    """
    sealed = [officerfile.read(one, ShownFile).sealed for one in shown]
    passphrase = b"" if sealed else system_passphrase(data, passphrase_file)
    facts = ask(data, lambda sdk: sdk.open_root(sealed, passphrase))
    return say(facts, as_json_text=json, lines=["The root is open for one act within five minutes."])
