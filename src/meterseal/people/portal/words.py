"""Words for codes: media, bands, qualities, assurances, rules, refusals and errors, marked for translation.

Only texts and which code they belong to; templates call `say` and the error pages `sentence`.

A code that is not listed is shown with the sentence its station wrote, marked as English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from meterseal.model import Quality
from meterseal.utility.bills import Bill
from meterseal.utility.views import Assurance


def _(text: str) -> str:
    """Mark a text for the catalogues; translated when shown."""
    return text


WORDS: Mapping[str, Mapping[str, str]] = {
    "medium": {"water": _("Water"), "gas": _("Gas"), "heat": _("Heat"), "electricity": _("Electricity")},
    "band": {"sharp": _("Sharp peak"), "peak": _("Peak"), "flat": _("Shoulder"), "valley": _("Off-peak")},
    "quality": {
        Quality.MEASURED.name: _("measured"),
        Quality.ESTIMATED.name: _("estimated"),
        Quality.EDITED.name: _("edited"),
        Quality.MISSING.name: _("missing"),
        Quality.SUSPECT.name: _("suspect"),
    },
    "way": {
        "sealed": _("Sealed by the meter"),
        "vouched": _("Vouched for by the concentrator"),
        "columns": _("Back-filled"),
    },
    "assurance": {
        "meter-signed": _("Signed by the meter"),
        "meter-chained": _("Inside the meter's signed chain"),
        "platform-attested": _("Attested by the platform"),
        "vouched": _("Vouched for by the concentrator"),
        "unsigned": _("Sealed, without a signature"),
        "stated": _("In part read by the installer"),
        "estimated": _("Estimated"),
        "taken-over": _("In part taken over, unsigned"),
        "tariff": _("Set by the tariff"),
    },
    # The sentences of utility.views.MEANING, word for word; a test compares them.
    "assurance-why": {
        "meter-signed": _(
            "The meter's security module signed both register readings that this quantity lies between."
        ),
        "meter-chained": _("The hourly readings are bound into a chain whose end the meter signed."),
        "platform-attested": _(
            "The meter's module authenticated the readings under a key that only the utility's key service "
            "shares, so the platform attests them; nobody else can check it."
        ),
        "vouched": _(
            "This meter has no security module; the concentrator in the building vouches for its readings."
        ),
        "unsigned": _(
            "The readings came sealed by the meter, but no signed statement for this moment is stored."
        ),
        "stated": _(
            "The meter was exchanged in this time; what it counted from its last signed reading to the exchange, and "
            "the new one from the exchange to its first, rests on the installer's readings of both."
        ),
        "estimated": _("At least one reading was missing and was replaced by an estimate or an edit."),
        "taken-over": _(
            "Part of this was taken over from the system before; no meter's signature covers that part."
        ),
        "tariff": _("Not a metered quantity."),
    },
    "checked": {
        "signed": _("signature and chain hold"),
        "mac": _("authentication code and chain hold"),
        "chain-open": _("signature holds, readings before it are missing"),
        "chain-broken": _("signature holds, but the stored readings are not the signed ones"),
        "bad": _("does not hold"),
        "unchecked": _("not checked yet"),
    },
    "origin": {"sealed": _("sealed by the meter"), "vouched": _("vouched for by the concentrator")},
    "origin-short": {"sealed": _("sealed"), "vouched": _("vouched")},
    "determinant": {
        "register": _("Difference of two register readings"),
        "hours": _("Sum of the hours in this band"),
        "year": _("Use since the start of the year, which sets the tier"),
        "export": _("Difference of two register readings of what was fed in"),
    },
    "model": {
        "seasonal-naive/1": _("By the same hour a week before."),
        "average-week/1": _("By the mean of the same hour in the last weeks."),
        "weather-week/1": _("By a learned week: hour, kind of day and, where it is known, the weather."),
    },
    "customer": {"dwelling": _("dwelling"), "business": _("business")},
    "edit-state": {
        "proposed": _("waits"),
        "saved": _("saved"),
        "undone": _("taken back"),
        "withdrawn": _("given up"),
    },
    "method": {
        "linear": _("straight line"),
        "like-day": _("like day"),
        "average-like-days": _("mean of like days"),
        "prior-year": _("the year before"),
        "weather-adjusted": _("by the weather"),
        "class-profile": _("profile of the class"),
        "neighbour-group": _("neighbours"),
        "flat": _("the same in every interval"),
    },
    "severity": {"info": _("note"), "warning": _("warning"), "error": _("error")},
    "valve": {"open": _("open"), "closed": _("closed"), "abnormal": _("abnormal")},
    "rule": {
        "gap": _("Readings are missing"),
        "stuck-register": _("The register does not move"),
        "zero": _("No use where there always is some"),
        "constant": _("The same use hour after hour"),
        "negative-step": _("The register went backwards"),
        "roll-over": _("The register began anew after its last digit"),
        "spike": _("Far more use than the week before shows"),
        "lonely-spike": _("One interval far above those beside it"),
        "overload": _("More use than the connection carries"),
        "reverse-flow": _("Something flowed backwards"),
        "sentinel": _("A number that no meter counts to"),
        "register-sum": _("The intervals do not add up to the register"),
        "edited": _("People changed readings"),
        "edit-undone": _("A change by people was taken back"),
        "sub-meters": _("The sub-meters do not add up to the main meter"),
        "high-use": _("Far more use than on like days"),
        "low-use": _("Far less use than in the weeks before"),
        "copied-day": _("A day that is the day before once more"),
        "multiplier": _("Use changed by a power of ten"),
        "time": _("Readings at times that are none of the load profile's"),
        "duplicate": _("Two readings of one interval"),
        "unit": _("Another unit or decimal point"),
        "tamper": _("The meter reported that somebody meddled with it"),
        "device-flag": _("The meter reported a fault of its own"),
        "heat-balance": _("Heat that the water cannot have carried"),
        "night-flow": _("Flow that does not stop at night"),
        "gas-heating": _("Use of gas that does not fit the heating"),
        "vacant": _("Use where nobody has an agreement"),
        "feed-in": _("Fed in where no plant is stated"),
        "rule-failed": _("A rule could not be applied"),
        "unreadable": _("Stored readings cannot be read"),
        "conflict": _("Two different readings for the same instant"),
        "ahead": _("Readings of times that had not come"),
        "clock-error": _("The meter's clock was measured to be off"),
        "clock": _("The meter's clock leads by some minutes"),
        "evidence-contradiction": _("Two different signed statements under one number"),
    },
    "rule-why": {
        "gap": _(
            "The gap is filled by estimates that meet the registers around it, a long one after three days; "
            "what the meter delivers later takes their place."
        ),
        "stuck-register": _("The dwelling may be empty, or the meter may be blocked."),
        "zero": _("Something there always runs; compare it with the other meters of the dwelling."),
        "constant": _("Nobody lives so evenly; the register may be made up by a faulty device."),
        "negative-step": _("Readings that fall are not billed on; somebody should look at the meter."),
        "roll-over": _("Use is counted across it; nothing is lost."),
        "spike": _("Compare it with the readings around it."),
        "lonely-spike": _("A register that jumped looks like this; a pipe that burst goes on."),
        "overload": _("The meter, its multiplier or its size on record is wrong."),
        "reverse-flow": _("Look for a missing check valve, or for a device that feeds in."),
        "sentinel": _("A counter that was never written or overflew shows it; read the meter again."),
        "register-sum": _("At least one interval of that day is not known or not right."),
        "sub-meters": _("A leak, a loss or an unmetered connection lies between them."),
        "high-use": _("Ask the customer before the bill does."),
        "low-use": _("The dwelling may be empty, or part of the use passes the meter by."),
        "copied-day": _("A block was delivered under two dates; read the meter again."),
        "multiplier": _("A multiplier, a unit or a decimal point slipped."),
        "time": _("The meter's clock is not to be trusted; set it and look at its battery."),
        "duplicate": _("The first one counts for the interval; look at the meter's clock."),
        "unit": _("The meter was set anew or exchanged without a record."),
        "tamper": _("Magnet, opened cover or removal: somebody should go and look."),
        "device-flag": _("Fault, battery or flow backwards; its readings may be incomplete."),
        "heat-balance": _("Energy, volume and temperatures do not fit; a sensor may be wrong."),
        "night-flow": _("Probably a leak; a toilet valve is the commonest."),
        "gas-heating": _("Heating out of season, or none in the cold."),
        "vacant": _("Somebody moved in unannounced, or something leaks."),
        "feed-in": _("A generator nobody registered; nobody is paid until it is stated."),
        "rule-failed": _("The other rules were; report this, because it is a defect of the rule."),
        "unreadable": _(
            "A file of the store is damaged and must be restored from a backup; nothing is billed across it meanwhile."
        ),
        "conflict": _(
            "The first one stays; the second came sealed, too, so somebody should look at the meter."
        ),
        "ahead": _(
            "The meter's clock runs ahead; what it says of these times once they have come takes their place."
        ),
        "clock-error": _(
            "Set the clock, or exchange the meter if it goes wrong again; readings of wrong hours are in doubt until then."
        ),
        "clock": _(
            "Its readings count, but not quite for their hours; set the clock and look at its battery."
        ),
        "evidence-contradiction": _("The first one stays; the meter's module must be examined."),
    },
    "reject": {"1": _("does not decode"), "2": _("against policy"), "3": _("unknown meter")},
    "held": {
        "bill.boundary-missing": _(
            "The reading at the start or end of the period is missing; it is billed once it arrives."
        ),
        "bill.hours-missing": _(
            "Hourly readings are missing, so the bands cannot be split; it is billed once they arrive."
        ),
        "bill.hours-differ": _("The hours do not add up to the register difference; look at the readings."),
        "bill.negative-use": _("The register went backwards within the period; look at the meter."),
        "bill.evidence-differs": _(
            "The meter signed another register than the one stored; look at the evidence."
        ),
        "bill.evidence-bad": _("The meter's signature does not hold; nothing is billed from it."),
        "bill.meter-changed": _(
            "Another meter signed than the one before, and no exchange is written down; write it down."
        ),
        "bill.registers-apart": _(
            "What was read at the exchange of the meter does not meet what the meter said; read it again."
        ),
        "bill.multiplier-unstated": _(
            "The meter was exchanged, and nobody said by what the register of the new one is multiplied; state it, or 1."
        ),
        "bill.export-missing": _(
            "A plant is stated and the register of what was fed in is missing; it is billed once it arrives."
        ),
        "bill.export-exchanged": _(
            "The meter was exchanged, and nobody wrote down its registers of what was fed in."
        ),
        "tariff.no-feed-in": _("A plant is stated, and the tariff has no price for what is fed in."),
        "bill.tariff-missing": _("No tariff is in force on a day of the period."),
    },
}

REFUSED: Mapping[str, str] = {
    "meter.removed": _(
        "The meter says that its cover was opened or that it was taken off; look at it on site."
    ),
    "meter.magnet": _("The meter says that a magnet was held to it; compare its use with earlier months."),
    "meter.fault": _("The meter says that its battery is at its minimum, or that its relay tripped."),
    "meter.reverse": _(
        "The meter says that something flowed backwards through it; look for a pump or a wrong pipe."
    ),
    "meter.valve": _("The meter says that its valve does not move as it was told."),
    "meter.battery": _("The meter says that its battery is low; have it replaced."),
    "meter.power": _("The meter says that its power failed."),
    "meter.clock": _("The clock of the meter is off."),
    "link.tag": _("The seal is broken: the message was altered on its way, or sealed under another key."),
    "link.replay": _(
        "The message was committed before: a recorded message was replayed, or an answer was lost."
    ),
    "link.counter": _("The message carries a counter that is never used."),
    "link.session": _("The message names a session that does not exist here."),
    "link.header": _("This is no message of the link."),
    "link.length": _("The lengths in the message do not fit together."),
    "link.flags": _("The message carries flags that never go together."),
    "link.direction": _("The message runs the other way: it was reflected or misrouted."),
    "link.envelope": _("The envelope names another device than the message in it."),
    "link.padding": _("The padding of an opened message is wrong."),
    "link.address": _("The meter address inside the seal is not the one the session belongs to."),
    "link.policy": _("The message is less protected than this meter's policy allows."),
    "link.hello-mac": _("A device asked for a session under a key that is not its module's."),
    "link.suite": _("A device asked for another security suite than the one it was enrolled with."),
    "link.unknown-module": _("A module that is not enrolled asked for a session."),
    "link.module-copied": _(
        "A module spoke from a meter that it does not belong to: it was moved or copied."
    ),
    "link.withdrawn": _("A module that was withdrawn asked for a session."),
    "link.key-version": _("A device uses another key version than the enrolled one."),
    "link.identity": _("The certificate names another device or module than the message before it."),
    "link.chain": _("The certificates of the device do not hold."),
    "link.signature": _("The signature of the device does not hold."),
    "link.fin": _("The handshake was altered on its way."),
    "link.no-run": _("The message belongs to no handshake that is under way."),
    "link.rate": _("A source sent far more handshakes than allowed and was slowed down."),
    "wire.checksum": _("A meter frame inside the message has a wrong checksum."),
    "wire.truncated": _("A meter frame inside the message ends too early."),
    "wire.no-frame": _("The message holds no meter frame."),
    "wire.length": _("The length in a meter frame does not fit the frame."),
    "wire.end": _("A meter frame does not end as it must."),
}

ERRORS: Mapping[str, str] = {
    "people.link": _(
        "This sign-in link was used before, has expired or was never issued. Ask your utility for a new one."
    ),
    "people.session": _("You are signed out. Sign in again to go on."),
    "people.sign-in": _(
        "Name and password do not belong together, or this account has no password. Try again or use "
        "a sign-in link."
    ),
    "people.too-many": _("There were too many attempts. Wait a quarter of an hour, or use a sign-in link."),
    "people.not-found": _("There is nothing at this address that you may see. Go back to your first page."),
    "people.password-short": _("The password is too short; use at least 12 characters."),
    "people.password-long": _("The password is too long; use at most 256 characters."),
    "people.period": _("This period is too long for one question; ask for a shorter one."),
    "edit.overtaken": _(
        "Readings or bills changed since you looked, or the form was changed. Nothing was saved; look at it again below."
    ),
    "edit.no-change": _("The registers are those that are visible already."),
    "edit.nothing-known": _("No reading of this meter is known that an edit could be held against."),
    "edit.nothing-there": _("At this time there is no value that could be taken as good."),
    "edit.units": _("The unit or the decimal places change in this time; edit the parts one by one."),
    "edit.number": _(
        "This is no number the meter can show: write it as 1234.56, with the decimals of the meter."
    ),
    "edit.period": _(
        "The time must end after it begins, lie on the steps of the load profile, and be 45 days long at most."
    ),
    "edit.time": _("A time is missing, or is not written as 2026-11-21 14:30."),
    "edit.future": _("It reaches into the future, and nobody has read a meter there."),
    "edit.wish": _("Say what is to be done, and give the number that goes with it."),
    "edit.method": _("The method has too little to go by here, or the time is too long for it."),
    "edit.meters": _("The meter was exchanged in this time; edit the part of each meter by itself."),
    "edit.elsewhere": _(
        "No one meter counted here in all of this time; edit the part of each meter by itself."
    ),
    "edit.tenants": _("The customer changed in this time, and use is not moved from one to another."),
    "edit.ends": _("There is no register at the beginning or the end to meet; edit that point first."),
    "edit.falls": _("The register would fall: it does not meet the readings around it."),
    "edit.rolled-up": _("This time was rolled up, and what is left there stays."),
    "edit.versions": _("This reading was changed too often already."),
    "edit.reason": _("Say why the readings are edited, in at most 400 characters."),
    "edit.state": _("This edit is not in a state in which that can be done; look at it again."),
    "edit.people": _("Somebody must agree to this edit first; nothing was changed."),
    "edit.gone": _("Nothing of this edit is visible any more, so there is nothing to take back."),
    "edit.built-on": _("A later edit rests on this one; take that one back first."),
    "edit.own": _("You asked for this edit yourself; somebody else hands the signatures in."),
    "edit.order": _("What was signed is not this edit as it stands; fetch the request again."),
    "edit.differs": _("What was approved is not this edit as it stands."),
    "edit.file": _("This is no request that officers signed; fetch it again and have it signed."),
    "rules.busy": _("Another trial runs; wait until it has come to its end."),
    "use.rule": _("There is no such rule."),
    "use.rules": _("This rule does not look at that medium or class of customer."),
    "use.parameter": _("That is no value for this rule."),
    "security.two-persons": _("Two different officers must sign it."),
    "security.signature": _("A signature does not hold."),
    "security.officer": _("Somebody signed who is no officer."),
    "security.role": _("Somebody signed who does not have the role for commands."),
    "security.expired": _("The request has expired; fetch it again."),
    "security.restored": _("The request was made before the keys were restored; fetch it again."),
    "security.project": _("The request is of another system."),
    "security.request": _("The request is not written as one; fetch it again."),
    "portal.password-repeat": _("The two passwords differ. Type the same one twice."),
    "portal.not-found": _("There is nothing at this address that you may see. Go back to your first page."),
    "portal.foreign-form": _(
        "This form was open too long or came from another page. Go back, reload, try again."
    ),
    "portal.too-many": _("There were too many sign-in attempts from here. Wait five minutes."),
    "portal.request": _("The address or form is not one this portal knows. Go back and try again."),
    "portal.fault": _("The portal met a fault of its own. Nothing was changed; try again in a moment."),
    "portal.engine": _(
        "The metering system is not answering right now. Nothing is lost; try again in a moment."
    ),
}

TITLES: Mapping[int, str] = {
    400: _("That did not work"),
    401: _("Signed out"),
    403: _("Not from here"),
    409: _("Changed meanwhile"),
    404: _("Nothing here"),
    429: _("Too many attempts"),
    500: _("Our fault"),
    503: _("Not answering"),
}


def speaker(gettext: Callable[[str], str]) -> Callable[[str, object], str]:
    """Make `say(kind, code)` for one language; an unknown code is shown as it is."""

    def say(kind: str, code: object) -> str:
        text = WORDS[kind].get(code.name if isinstance(code, Quality) else str(code))
        return gettext(text) if text else str(code)

    return say


def knows(kind: str, code: object) -> bool:
    """Whether a code has words."""
    return str(code) in WORDS[kind]


def assurances(bill: Bill) -> list[Assurance]:
    """Every word that a bill's page uses for who stands behind a quantity, best first."""
    used = {part.assurance for part in bill.parts} | {one.assurance for one in bill.determinants}
    return [word for word in get_args(Assurance) if word in used]


def part_class(assurance: str) -> int:
    """Number of the colour of an assurance, the same in bar and legend."""
    return {
        "meter-signed": 0,
        "meter-chained": 0,
        "platform-attested": 1,
        "vouched": 2,
        "unsigned": 3,
        "estimated": 4,
        "stated": 4,
    }.get(assurance, 5)


def sentence(
    gettext: Callable[[str], str], code: str, otherwise: str, table: Mapping[str, str] = ERRORS
) -> str:
    """The sentence for a code in one language, else the sentence its station wrote."""
    text = table.get(code)
    return gettext(text) if text else otherwise
