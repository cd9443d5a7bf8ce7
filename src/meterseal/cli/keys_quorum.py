"""`meterseal keys quorum …`: who opens the root, shares for an act that waits, and a quorum made or renewed.

It sees no share in clear but the one that its officer seals; every rule is the service's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.app import config
from meterseal.app.clock import now_ms
from meterseal.cli.answers import plain, say
from meterseal.cli.arguments import Data, Hours, Json
from meterseal.cli.calls import ask_keys, epoch
from meterseal.cli.orders import PURPOSES, ordered, says
from meterseal.cli.passphrases import secret, system_passphrase
from meterseal.cli.times import at
from meterseal.crypto import sm2
from meterseal.errors import LocalError
from meterseal.security import officerfile, orders, quorum
from meterseal.security import rootorders as r
from meterseal.security.sdk import SecuritySdk

HOUR = 3_600_000


class ShareFile(Struct, frozen=True, kw_only=True):
    """A share that only its officer's key opens; kept by the officer. `project_id` and `epoch` go into its words."""

    officer: str
    quorum_id: bytes
    sealed: bytes
    project_id: bytes
    epoch: bytes


class OpeningFile(Struct, frozen=True, kw_only=True):
    """An act that waits for shares, on its way to their holders."""

    opening: r.Opening
    project_id: bytes
    epoch: bytes


def show(*, data: Data, json: Json = False) -> int:
    """Say who opens the root, whose share is dead, and who has yet to confirm a new quorum."""
    facts = ask_keys(data, lambda sdk: sdk.quorum())
    document = msgspec.structs.asdict(facts) | {"says": facts.sentence}
    return say(document, as_json=json, lines=[facts.sentence])


def begin(
    quorum: str,
    *officers: str,
    data: Data,
    to: Path,
    hours: Hours = 24,
    json: Json = False,
) -> int:
    """Make the request for a new quorum: the first one, a renewal, or other people or numbers.

    Two officers with the role ca sign and submit it; the quorum of today (or the passphrase) opens the root for it; then
    each new holder takes their share (`shares`), shows that it opens (`keep`), and `confirm` puts the quorum in force.

    Parameters
    ----------
    quorum
        m/n, such as 2/3.
    officers
        Ids of the n officers.
    to
        Where the request goes.
    hours
        How long the request holds, at most 168.
    """
    needed, _, people = quorum.partition("/")
    if not (needed.isascii() and needed.isdigit() and len(needed) < 3) or people != str(len(officers)):
        raise LocalError(
            "use.quorum", f"`{quorum}` does not fit {len(officers)} officers: give m/n and n ids."
        )
    fields = {"threshold": int(needed), "officers": officers}
    return ordered(data, "root-quorum", fields, to, hours, as_json=json)


def shares(*, data: Data, to: Path, json: Json = False) -> int:
    """Write ID.share for each holder of the quorum that is being set up; only its officer's key opens one.

    Parameters
    ----------
    to
        Directory for the files.
    """
    coming = ask_keys(data, lambda sdk: sdk.coming_quorum())
    project, begins = _words(data)
    for one in coming.shares:
        file = ShareFile(
            officer=one.officer,
            quorum_id=coming.quorum_id,
            sealed=one.sealed,
            project_id=project,
            epoch=begins,
        )
        officerfile.write(to / f"{one.officer}.share", file)
    people = [one.officer for one in coming.shares]
    line = f"Each of {', '.join(people)} keeps their share and shows that it opens: meterseal keys quorum keep SHARE"
    return say(
        {"shares": people, "threshold": coming.threshold, "kept": coming.kept},
        as_json=json,
        lines=[line],
    )


def keep(
    share: Path,
    *,
    key: Path,
    to: Path,
    passphrase_file: Path | None = None,
    hours: Hours = 24,
    json: Json = False,
) -> int:
    """Open your share of a coming quorum with your key, and sign that you can; the share itself goes nowhere.

    Parameters
    ----------
    share
        Your share file; keep it.
    key
        Your key file.
    to
        The file to hand in with `keys quorum confirm`.
    passphrase_file
        Passphrase of your key, mode 0600; typed when absent.
    hours
        How long it may be handed in, at most 168.
    """
    kept = officerfile.read(share, ShareFile)
    own, signing = _own(key, passphrase_file)
    made = r.ShareKept(
        request_id=orders.fresh_request_id(kept.epoch),
        not_after=now_ms() + hours * HOUR,
        project_id=kept.project_id,
        quorum_id=kept.quorum_id,
        check=quorum.check_of(signing.decrypt(kept.sealed)),
    )
    return _hand_in("root-kept", made, own, signing, to, as_json=json)


def confirm(*kept: Path, data: Data, json: Json = False) -> int:
    """Hand in what the new holders signed; with the last one the new quorum is in force, and what was before opens
    nothing.

    Parameters
    ----------
    kept
        The files that `keys quorum keep` wrote.
    """
    done = _submitted(data, kept)
    facts = ask_keys(data, lambda sdk: sdk.quorum())
    return say(msgspec.structs.asdict(facts) | {"says": facts.sentence}, as_json=json, lines=[done.sentence])


def opening(*, data: Data, to: Path | None = None, json: Json = False) -> int:
    """Show the act that waits for the root to be opened, and write it down for those who hold shares.

    Parameters
    ----------
    to
        The file that holders seal their shares for.
    """
    found = ask_keys(data, lambda sdk: sdk.root_opening())
    project, begins = _words(data)
    if to is not None:
        officerfile.write(to, OpeningFile(opening=found, project_id=project, epoch=begins), mode=0o644)
    document = {
        "opening": found.opening,
        "purpose": found.purpose,
        "says": _says(found),
        "until": found.until,
        "needed": found.threshold,
        "handed_in": found.handed_in,
    }
    return say(document, as_json=json, lines=_lines(found))


def seal(
    share: Path,
    *,
    key: Path,
    opening: Path,
    to: Path,
    passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Show the act that waits, open your share with your key, and seal and sign it for that act alone.

    Parameters
    ----------
    share
        Your share file.
    key
        Your key file.
    opening
        The waiting act, as `keys quorum opening --to` wrote it.
    to
        The file to hand in with `keys quorum open`.
    passphrase_file
        Passphrase of your key, mode 0600; typed when absent.
    """
    waits = officerfile.read(opening, OpeningFile)
    kept = officerfile.read(share, ShareFile)
    if not json:
        print("\n".join(map(plain, _lines(waits.opening))))
    act = r.act_digest(waits.opening.purpose, waits.opening.request)
    own, signing = _own(key, passphrase_file)
    made = r.ShareIn(
        request_id=orders.fresh_request_id(waits.epoch),
        not_after=waits.opening.until,
        project_id=waits.project_id,
        opening=waits.opening.opening,
        act=act,
        sealed=sm2.encrypt(waits.opening.point, signing.decrypt(kept.sealed)),
    )
    return _hand_in("root-share", made, own, signing, to, as_json=json)


def open_root(
    *shown: Path,
    data: Data,
    passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Hand in shares for the act that waits; with the last one needed it is carried out. Under the lab default the
    passphrase does it.

    Parameters
    ----------
    shown
        The files that holders sealed for this act; none in the lab default.
    passphrase_file
        For the lab default, where the passphrase lies, when not beside the data directory.
    """
    if shown:
        done = _submitted(data, shown)
    else:
        passphrase = system_passphrase(data, passphrase_file)
        done = ask_keys(data, lambda sdk: sdk.open_root(passphrase))
    return say(done, as_json=json, lines=[done.sentence])


def _own(key: Path, passphrase_file: Path | None) -> tuple[str, sm2.Sm2PrivateKey]:
    own = officerfile.read(key, officerfile.KeyFile)
    return own.officer, officerfile.unlock(own, secret(passphrase_file, f"Passphrase of {own.officer}: "))


def _hand_in(
    purpose: str,
    made: orders.Request,
    officer: str,
    key: sm2.Sm2PrivateKey,
    to: Path,
    *,
    as_json: bool,
) -> int:
    file = officerfile.RequestFile(purpose=purpose, says=says(made), request=orders.encoded(made))
    officerfile.write(to, officerfile.signed(file, officer, key))
    return say({"officer": officer, "file": str(to)}, as_json=as_json, lines=[f"Hand in {to}."])


def _submitted(data: Path, files: tuple[Path, ...]) -> orders.Done:
    if not files:
        raise LocalError("use.file", "Name the files that the holders signed.")
    signed = [officerfile.read(file, officerfile.RequestFile).order for file in files]

    async def each(sdk: SecuritySdk) -> orders.Done:
        return [await sdk.submit(one) for one in signed][-1]

    return ask_keys(data, each)


def _words(data: Path) -> tuple[bytes, bytes]:
    """Project, and what the ids of new requests begin with: what holders elsewhere need to sign."""
    return bytes.fromhex(config.load(config.Layout(data)).project), epoch(data)


def _says(found: r.Opening) -> dict[str, Any]:
    """What waits, read from the very bytes that officers signed; LocalError `use.purpose` for a newer version's act."""
    kind = PURPOSES.get(found.purpose)
    if kind is None:
        raise LocalError(
            "use.purpose", f"This version knows no purpose `{found.purpose}`; nothing was signed."
        )
    return says(orders.decoded(found.request, kind))


def _lines(found: r.Opening) -> list[str]:
    who = f"{found.threshold} shares, here from {', '.join(found.handed_in) or 'nobody yet'}"
    return [
        f"{found.purpose} waits until {at(found.until)} for {who if found.threshold > 1 else 'the passphrase'}:",
        *(f"  {name:<12} {value}" for name, value in _says(found).items()),
    ]
