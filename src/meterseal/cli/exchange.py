"""`meterseal device exchange|remove|place|move`: meters that change their place, as an installer wrote it down.

It opens no file of the system and reads no meter. What the installer says is checked by the system, which says why when it
cannot be true.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from meterseal.app import config, operator
from meterseal.app.exchanging import Changed, ChangeMeter, NewMeter
from meterseal.app.listing import Listing
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.command import Key, listed, unlocked
from meterseal.cli.times import moment
from meterseal.errors import LocalError, MetersealError
from meterseal.link.profiles import OURS


def _says(text: str) -> Parameter:
    return Parameter(help=text)


When = Annotated[str, _says("When it was done, local time, YYYY-MM-DD HH:MM.")]
Reason = Annotated[str, _says('Why, such as "calibration is over".')]
Installer = Annotated[str, _says("Who read the meter, or both.")]
Withdraw = Annotated[
    bool, _says("Take its module out of service for good; without it the meter goes to stock.")
]
Officers = Annotated[
    list[Path] | None,
    _says(
        "Key file of an officer with the role command: the concentrators are told whom they read from now on. Without it "
        "the commands that do so are printed."
    ),
]
Phrases = Annotated[
    list[Path] | None,
    _says("Passphrase of that key, mode 0600; one for all keys or one each; typed when absent."),
]
LastExport = Annotated[str, _says("What the register of fed-in energy showed, where a plant is stated.")]
FirstExport = Annotated[str, _says("The same of the meter that came, or of the one that is put in.")]
CountedOn = Annotated[
    bool,
    _says("It counted after it was taken out, as on a test bench; without it a time before that is refused."),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Comes:
    """What is to be known of the meter that comes."""

    model: Annotated[
        str, _says("Its model (`meterseal device models`); else as it was in stock, or as the old one's.")
    ] = ""
    concentrator: Annotated[
        str, _says("Concentrator behind which it is; by default that of the old one.")
    ] = ""
    bus: Annotated[int | None, _says("Its bus there.")] = None
    module_id: Annotated[
        str,
        _says("Id of its module, 16 hex digits; without one it is plain, or has the one it had in stock."),
    ] = ""
    module_point: Annotated[str, _says("Public point of that module, 130 hex digits.")] = ""
    suite: Annotated[Literal[1, 2], _says("1 with certificates and SM2, 2 with SM4 alone.")] = 1
    security_profile: Annotated[str, _says("How that module seals; it keeps it for good.")] = OURS.name
    to: Annotated[
        Path | None, _says("File for what that module is personalised with; only that module opens it.")
    ] = None

    def meter(self) -> NewMeter:
        """The same, checked. LocalError `use.module`, `use.file`, `use.device`."""
        if len({bool(self.module_id), bool(self.module_point), self.to is not None}) != 1:
            raise LocalError(
                "use.module",
                "A module needs --module-id, --module-point and --to, all of them. Nothing was changed.",
            )
        if self.to is not None and self.to.exists():
            raise LocalError(
                "use.file", f"{self.to} is there already; choose another name. Nothing was changed."
            )
        try:
            point = bytes.fromhex(self.module_point)
        except ValueError:
            raise LocalError(
                "use.module", "The module's public point is 130 hex digits, as the module shows it."
            ) from None
        return NewMeter(
            model=self.model,
            concentrator_id=device_id_of(self.concentrator) if self.concentrator else b"",
            riser=self.bus,
            suite=self.suite,
            module_id=device_id_of(self.module_id) if self.module_id else b"",
            module_point=point,
            security_profile=self.security_profile,
        )


LIKE_THE_OLD = Comes()


def exchange(
    old: str,
    new: str,
    *,
    data: Data,
    at: When,
    last: str,
    first: str,
    reason: Reason,
    installer: Installer,
    last_export: LastExport = "",
    first_export: FirstExport = "",
    comes: Comes = LIKE_THE_OLD,
    withdraw: Withdraw = False,
    counted_on: CountedOn = False,
    officer: Officers = None,
    passphrase_file: Phrases = None,
    json: Json = False,
) -> int:
    """Exchange a meter for another at its usage point; agreement and bills go on, and a bill shows both meters.

    Repeating it with the same words completes what was cut off.

    Parameters
    ----------
    old
        Device id of the meter that went, 16 hex digits.
    new
        Device id of the meter that came, 16 hex digits.
    last
        What the old meter showed, in the unit it is billed in, such as 1234.56.
    first
        What the new meter showed.
    """
    asked = ChangeMeter(
        removed=device_id_of(old),
        installed=device_id_of(new),
        at=moment(at),
        last=last,
        first=first,
        last_export=last_export,
        first_export=first_export,
        reason=reason,
        installer=installer,
        new=comes.meter(),
        withdraw=withdraw,
        counted_on=counted_on,
    )
    return _change(data, asked, comes.to, unlocked(officer or [], passphrase_file or []), as_json=json)


def remove(
    meter: str,
    *,
    data: Data,
    at: When,
    last: str,
    reason: Reason,
    installer: Installer,
    last_export: LastExport = "",
    withdraw: Withdraw = False,
    counted_on: CountedOn = False,
    officer: Officers = None,
    passphrase_file: Phrases = None,
    json: Json = False,
) -> int:
    """Take a meter out of its usage point and into stock; nothing is put in its place.

    Parameters
    ----------
    meter
        Its device id, 16 hex digits.
    last
        What it showed, in the unit it is billed in.
    """
    asked = ChangeMeter(
        removed=device_id_of(meter),
        at=moment(at),
        last=last,
        last_export=last_export,
        reason=reason,
        installer=installer,
        withdraw=withdraw,
        counted_on=counted_on,
    )
    return _change(data, asked, None, unlocked(officer or [], passphrase_file or []), as_json=json)


def place(
    meter: str,
    *,
    data: Data,
    usage_point: str,
    at: When,
    first: str,
    reason: Reason,
    installer: Installer,
    first_export: FirstExport = "",
    comes: Comes = LIKE_THE_OLD,
    officer: Officers = None,
    passphrase_file: Phrases = None,
    json: Json = False,
) -> int:
    """Put a meter in at a usage point whose meter was taken out: a new one, or one out of stock.

    Parameters
    ----------
    meter
        Its device id, 16 hex digits.
    usage_point
        Where: the pseudonym that `device remove` and `device list` show.
    first
        What it showed, in the unit it is billed in.
    """
    asked = ChangeMeter(
        installed=device_id_of(meter),
        usage_point=usage_point,
        at=moment(at),
        first=first,
        first_export=first_export,
        reason=reason,
        installer=installer,
        new=comes.meter(),
    )
    return _change(data, asked, comes.to, unlocked(officer or [], passphrase_file or []), as_json=json)


def move(
    meter: str,
    *,
    data: Data,
    usage_point: str,
    at: When,
    last: str,
    reason: Reason,
    installer: Installer,
    last_export: LastExport = "",
    concentrator: str = "",
    bus: int | None = None,
    officer: Officers = None,
    passphrase_file: Phrases = None,
    json: Json = False,
) -> int:
    """Move a meter, as it is, from its usage point to another whose meter was taken out.

    Parameters
    ----------
    meter
        Its device id, 16 hex digits.
    usage_point
        Where it is now: the pseudonym that `device remove` and `device list` show.
    last
        What it showed, in the unit it is billed in; the one place is billed to it, the other from it.
    concentrator
        Behind which concentrator it is now; by default as before.
    bus
        On which of its buses; by default as before.
    """
    asked = ChangeMeter(
        removed=device_id_of(meter),
        installed=device_id_of(meter),
        usage_point=usage_point,
        at=moment(at),
        last=last,
        last_export=last_export,
        reason=reason,
        installer=installer,
        new=NewMeter(concentrator_id=device_id_of(concentrator) if concentrator else b"", riser=bus),
    )
    return _change(data, asked, None, unlocked(officer or [], passphrase_file or []), as_json=json)


def _change(data: Path, asked: ChangeMeter, to: Path | None, keys: list[Key], *, as_json: bool) -> int:
    answer = ask(data, "change_meter", asked, Changed)
    if to is not None:
        config.replace_file(to, answer.personalisation)
    words, by_hand, why = [], [], ""
    for one in answer.roster:
        try:
            if keys and not why:
                words.append(listed(data, one, asked.reason, keys).id)
                continue
        except MetersealError as error:  # the change itself is written down already
            why = error.message
        by_hand.append(_by_hand(one))
    document = {
        "left": answer.left,
        "came": answer.came,
        "taken_back": answer.taken_back,
        "words_ended": answer.words_ended,
        "multiplier": answer.multiplier,
        "roster": by_hand,
        "words": words,
        "why": why,
        "file": str(to) if to is not None else "",
    }
    show(operator.as_json(document), as_json=as_json, lines=lambda said: _lines(asked, said))
    return 1 if why else 0


def _by_hand(one: Listing) -> str:
    """The command that tells a concentrator so."""
    said = [one.act.replace("-", " "), *(f"{name}={value}" for name, value in one.given.items())]
    if one.elsewhere:
        said.append(f"--concentrator {one.concentrator_id.hex()}")
    return f"meterseal device command {one.device_id.hex()} {' '.join(said)} --officer FILE --data DIR"


def _lines(asked: ChangeMeter, said: dict[str, object]) -> list[str]:
    lines = []
    if asked.removed:
        lines.append(f"{asked.removed.hex()} left {said['left']} with register {asked.last}.")
    if asked.installed:
        lines.append(
            f"{asked.installed.hex()} is at {said['came']} now, with register {asked.first or asked.last}."
        )
    if said["taken_back"]:
        lines.append(
            f"{said['taken_back']} readings of later times that the old meter had sent are taken back."
        )
    if said["multiplier"]:
        lines.append(
            f"The multiplier {said['multiplier']} ended with the old meter. Bills wait until that of the new one is said, "
            "from that moment on; say 1 if its register counts all of the use: meterseal vee facts import FILE.csv"
        )
    if said["words_ended"]:
        lines.append(f"{said['words_ended']} words that waited for it are withdrawn.")
    if said["roster"]:
        if said["why"]:
            lines.append(f"The change is written down, and its concentrator was not told: {said['why']}")
        lines.append("Tell its concentrator, with an officer's key each:")
        lines += [f"  {one}" for one in list(said["roster"])]  # type: ignore[call-overload]  # lines of text
    if said["words"]:
        named = ", ".join(map(str, list(said["words"])))  # type: ignore[call-overload]  # numbers
        lines.append(f"Words {named} wait for the concentrators, a week at most; see: meterseal device words")
    if said["file"]:
        lines.append(f"Personalise the new module with {said['file']}.")
    return lines
