"""The command line: reads arguments, the clock and the environment, and prints. Every command has `--json`.

It decides nothing: commands call the kit, the app, or a codec. Each lives in a module that is imported when it is
called, so that `meterseal decode` does not wait for a web server's imports.

Exit status: 0 good, 1 the answer is no (one sentence says what, why, what to do), 2 wrong use.
"""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from meterseal import __version__
from meterseal.cli.outlet import Undelivered, delivering
from meterseal.errors import LocalError, MetersealError

app = App(
    name="meterseal",
    version=__version__,
    help="Secure smart metering, from the meter's security module to the resident's bill.",
    result_action="return_value",
    default_parameter=Parameter(negative=(), show_default=lambda value: str(value) if value else None),
)

app.command(
    "meterseal.cli.system:up", name="up", help="Start the system of a data directory and keep it running."
)
app.command(
    "meterseal.cli.field:demo", name="demo", help="A street from meter to bill, then three refused attacks."
)
app.command(
    "meterseal.cli.field:simulate",
    name="simulate",
    help="Play a fleet, or captured answers, against a running system.",
)
app.command(
    "meterseal.cli.decode:decode_command",
    name="decode",
    help="Take a CJ/T 188 or DL/T 645 frame apart, byte by byte.",
)
app.command(
    "meterseal.cli.bench:bench",
    name="bench",
    help="What this machine does in a CPU second, beside what bounds it.",
)
app.command(
    "meterseal.cli.line:line", name="line", help="Look into a line between a bus master and its meters."
)
app.command("meterseal.cli.doctor:doctor", name="doctor", help="Can this machine do what the system needs?")

device = App(name="device", help="Enrol and list devices.")
device.command(
    "meterseal.cli.device:issue",
    name="issue",
    help="Enrol one device of a lab project and print its credentials.",
)
device.command("meterseal.cli.device:seal", name="seal", help="Give a plain meter a module of its own.")
device.command("meterseal.cli.adding:add", name="add", help="Enrol meters without a module, one or a file.")
device.command(
    "meterseal.cli.exchange:exchange",
    name="exchange",
    help="Exchange a meter for another at its usage point.",
)
device.command("meterseal.cli.exchange:remove", name="remove", help="Take a meter out of its usage point.")
device.command("meterseal.cli.exchange:place", name="place", help="Put a meter in at a vacant usage point.")
device.command("meterseal.cli.exchange:move", name="move", help="Move a meter to a vacant usage point.")
device.command(
    "meterseal.cli.device:renew_tls", name="renew-tls", help="Give a concentrator a new TLS certificate."
)
device.command("meterseal.cli.device:devices", name="list", help="List every meter in place.")
device.command(
    "meterseal.cli.command:command",
    name="command",
    help="Read a meter now, or command it with officers' signatures.",
)
device.command("meterseal.cli.command:send", name="send", help="Send the command of a signed order.")
device.command(
    "meterseal.cli.command:verbs", name="verbs", help="List everything that can be said to a meter."
)
device.command("meterseal.cli.command:zone", name="zone", help="Request that meters belong to a zone.")
device.command(
    "meterseal.cli.words:words", name="words", help="What was said to meters, and what came of it."
)
device.command(
    "meterseal.cli.command:rollout", name="rollout", help="Queue the keys and certificates that modules lack."
)
device.command(
    "meterseal.cli.models:new_profile", name="new-profile", help="Start a meter model from captured frames."
)
device.command("meterseal.cli.models:models", name="models", help="List the meter models that there are.")
bulk = App(name="bulk", help="Say the same to many meters.")
bulk.command("meterseal.cli.bulk:plan", name="plan", help="Show whom an order would reach; write it to sign.")
bulk.command("meterseal.cli.bulk:start", name="start", help="Start an order that officers signed.")
bulk.command("meterseal.cli.bulk:orders", name="show", help="How far orders are, and whom they skipped.")
bulk.command("meterseal.cli.bulk:cancel", name="cancel", help="Take back what was not sent.")
device.command(bulk)
app.command(device)

firmware = App(name="firmware", help="New firmware for meters: images, releases, campaigns in waves.")
firmware.command(
    "meterseal.cli.firmware:officers", name="officers", help="Request that the officers release firmware."
)
firmware.command("meterseal.cli.firmware:add", name="import", help="Import an image.")
firmware.command("meterseal.cli.firmware:release", name="release", help="Request that an image is released.")
firmware.command("meterseal.cli.firmware:withdraw", name="withdraw", help="Request that it is no more.")
firmware.command("meterseal.cli.firmware:adopt", name="adopt", help="Take up what two officers signed.")
firmware.command("meterseal.cli.firmware:images", name="list", help="List every image.")
firmware.command("meterseal.cli.campaigns:meters", name="meters", help="What every meter runs.")
firmware.command(
    "meterseal.cli.campaigns:plan", name="plan", help="Show whom a release would reach; order it."
)
firmware.command("meterseal.cli.campaigns:start", name="start", help="Begin a campaign by a signed order.")
firmware.command("meterseal.cli.campaigns:show", name="show", help="How far campaigns are, and who failed.")
firmware.command("meterseal.cli.campaigns:cancel", name="cancel", help="Begin nothing more of a campaign.")
firmware.command("meterseal.cli.campaigns:resume", name="resume", help="Go on after a stop.")
firmware.command(
    "meterseal.cli.firmware:sample_image", name="sample", help="Write an image for simulated meters."
)
app.command(firmware)

concentrator = App(name="concentrator", help="A gateway on real buses: set up once, run under systemd.")
concentrator.command(
    "meterseal.cli.concentrator:new", name="new", help="Make its module and print what is enrolled."
)
concentrator.command("meterseal.cli.concentrator:enrol", name="enrol", help="Enrol it, at the operator's.")
concentrator.command(
    "meterseal.cli.concentrator:setup", name="setup", help="Give it its parameters, which it keeps sealed."
)
concentrator.command("meterseal.cli.concentrator:run", name="run", help="Run it until SIGTERM.")
concentrator.command(
    "meterseal.cli.concentrator:status", name="status", help="Ask the running one how it is."
)
concentrator.command(
    "meterseal.cli.concentrator:search", name="search", help="Search one of its buses for unknown meters."
)
concentrator.command("meterseal.cli.concentrator:read", name="read", help="Read one of its plain meters now.")
concentrator.command(
    "meterseal.cli.concentrator:backfill", name="backfill", help="Read back what a plain meter froze."
)
concentrator.command("meterseal.cli.concentrator:unit", name="unit", help="Print a hardened unit of systemd.")
app.command(concentrator)

bill = App(name="bill", help="Run, list and open bills.")
bill.command(
    "meterseal.cli.billing:bill_run", name="run", help="Bill every completed period that is not billed yet."
)
bill.command("meterseal.cli.billing:bill_list", name="list", help="List the newest version of each bill.")
bill.command(
    "meterseal.cli.billing:bill_show", name="show", help="Open one bill to its readings and evidence."
)
bill.command(
    "meterseal.cli.proving:bundle", name="bundle", help="Write a bill with everything that proves it."
)
bill.command("meterseal.cli.proving:check", name="check", help="Check a bundle, without any system.")
app.command(bill)

ledger = App(name="ledger", help="Checkpoints and proofs of what was accepted; find any later change.")
ledger.command("meterseal.cli.ledger:checkpoint", name="checkpoint", help="Print the newest checkpoint.")
ledger.command("meterseal.cli.ledger:prove", name="prove", help="Prove that a leaf is in the ledger.")
ledger.command(
    "meterseal.cli.ledger:consistency", name="consistency", help="Prove that it only grew since a checkpoint."
)
ledger.command(
    "meterseal.cli.ledger:verify", name="verify", help="Compare everything stored with its checkpoints."
)
app.command(ledger)

store = App(
    name="store", help="Back the platform up while it runs, bring it back, see that everything opens."
)
store.command("meterseal.cli.store:backup", name="backup", help="Write a backup while all runs.")
store.command("meterseal.cli.store:list_backups", name="list", help="List the backups of a directory.")
store.command(
    "meterseal.cli.store:restore", name="restore", help="Bring a backup back, or drill it on a copy."
)
store.command(
    "meterseal.cli.store:check", name="check", help="Open every stored piece; name what is damaged."
)
store.command(
    "meterseal.cli.giving_up:give_up",
    name="give-up",
    help="Go on without what of the journal is lost for good.",
)
retention = App(name="retention", help="How long readings are kept in full, and rolling up what is older.")
retention.command(
    "meterseal.cli.retention:show_retention", name="show", help="Show rules, holds and roll-ups."
)
retention.command("meterseal.cli.retention:set_retention", name="set", help="State a rule.")
retention.command(
    "meterseal.cli.retention:keep_runs", name="runs", help="State how long runs of the rules are kept."
)
retention.command(
    "meterseal.cli.retention:hold", name="hold", help="Keep all of a usage point, or release it."
)
retention.command("meterseal.cli.retention:try_retention", name="try", help="Say what a run would take.")
retention.command("meterseal.cli.retention:run_retention", name="run", help="Roll up what the rules say.")
store.command(retention)
app.command(store)

app.command("meterseal.cli.sql:sql", name="sql", help="Ask readings and findings of a period in SQL.")

vee = App(name="vee", help="Validate and estimate what was read.")
vee.command("meterseal.cli.vee:rules", name="rules", help="List the rules and their parameters.")
vee.command("meterseal.cli.vee:run", name="run", help="Validate and estimate now.")
vee.command("meterseal.cli.runs:runs", name="runs", help="List the runs that were made.")
vee.command("meterseal.cli.runs:replay", name="replay", help="Make a run again from what it saw.")
vee.command("meterseal.cli.vee:findings", name="show", help="Show what was found, and why.")
vee.command(
    "meterseal.cli.vee:backtest",
    name="backtest",
    help="How good estimates and rules are where the truth is known.",
)
vee.command(
    "meterseal.cli.changes:attempt",
    name="try",
    help="Show what a changed rule would flag, before it is changed.",
)
vee.command("meterseal.cli.changes:change", name="change", help="Let a rule judge otherwise from now on.")
vee.command(
    "meterseal.cli.changes:order", name="order", help="Ask methods in another order for gaps of a time."
)
vee.command("meterseal.cli.changes:changes", name="changes", help="List what was changed, by whom and why.")
facts = App(name="facts", help="What rules know of usage points.")
facts.command("meterseal.cli.facts:facts_import", name="import", help="Take facts from a CSV.")
facts.command("meterseal.cli.facts:facts_show", name="show", help="What is known, and from when to when.")
vee.command(facts)
vee.command("meterseal.cli.editing:edit", name="edit", help="Edit readings; shows what it does to bills.")
vee.command("meterseal.cli.editing:edits", name="edits", help="List edits.")
vee.command("meterseal.cli.editing:approve", name="approve", help="Have a proposed edit signed and saved.")
vee.command("meterseal.cli.editing:undo", name="undo", help="Take an edit back.")
app.command(vee)

app.command(
    "meterseal.cli.export:export", name="export", help="Write readings as CSV, Arrow, Parquet or CIM XML."
)

handover = App(
    name="handover", help="Readings for a warehouse, in deliveries of which none can get lost unseen."
)
handover.command("meterseal.cli.handover:write", name="write", help="Write the next delivery.")
handover.command("meterseal.cli.handover:check", name="check", help="Show that deliveries are whole.")
app.command(handover)

forecast = App(name="forecast", help="What will probably be used, and how good earlier forecasts were.")
forecast.command("meterseal.cli.forecast:run", name="run", help="Make today's forecasts now.")
forecast.command(
    "meterseal.cli.forecast:forecast", name="show", help="What a meter or a medium will probably use."
)
forecast.command("meterseal.cli.forecast:score", name="score", help="How good the last days' forecasts were.")
forecast.command(
    "meterseal.cli.forecast:backtest", name="backtest", help="How good forecasts are over a simulated street."
)
app.command(forecast)

weather = App(name="weather", help="Temperatures that forecasts and rules look at.")
weather.command(
    "meterseal.cli.surroundings:weather_import", name="import", help="Take temperatures from a CSV."
)
weather.command("meterseal.cli.surroundings:weather_show", name="show", help="From when to when it is known.")
app.command(weather)

calendar = App(name="calendar", help="Public holidays, and weekend days that are worked in exchange.")
calendar.command("meterseal.cli.surroundings:calendar_import", name="import", help="Take days from a CSV.")
calendar.command("meterseal.cli.surroundings:calendar_show", name="show", help="List them.")
app.command(calendar)

account = App(name="account", help="Sign-in links for operators and residents.")
account.command("meterseal.cli.people:account_link", name="link", help="Print a one-time sign-in link.")
app.command(account)

keys = App(name="keys", help="Officers, orders of two people, rotation, backup: the security service's keys.")
officer = App(name="officer", help="Officers: their keys and cards, who they are, who joins and leaves.")
officer.command("meterseal.cli.keys_officers:officer_new", name="new", help="Make an officer's key and card.")
officer.command(
    "meterseal.cli.keys_officers:officer_list", name="list", help="List everybody who is or was an officer."
)
officer.command(
    "meterseal.cli.keys_officers:officer_add",
    name="add",
    help="Write the first officers down, or request more.",
)
officer.command(
    "meterseal.cli.keys_officers:officer_remove", name="remove", help="Request that officers leave."
)
keys.command(officer)
keys.command("meterseal.cli.keys_orders:request", name="request", help="Make a request that officers sign.")
keys.command(
    "meterseal.cli.keys_orders:sign", name="sign", help="Show a request and sign it with an officer's key."
)
keys.command("meterseal.cli.keys_orders:submit", name="submit", help="Hand a signed request to the service.")
keys.command("meterseal.cli.keys:rotate", name="rotate", help="Put a new version of a kind of key into use.")
keys.command("meterseal.cli.keys:list_keys", name="list", help="List every key: state, uses, limit.")
keys.command(
    "meterseal.cli.keys:transport", name="transport", help="Show the point that imported keys are sealed to."
)
keys.command("meterseal.cli.keys:moving", name="moving", help="Count what still stands on an old version.")
keys.command(
    "meterseal.cli.keys_audit:audit",
    name="audit",
    help="What the security service wrote down, after its chain was walked.",
)
keys.command(
    "meterseal.cli.keys_head:head",
    name="head",
    help="Was the keys directory put back? Accept it after a restore.",
)
keys.command(
    "meterseal.cli.keys_passphrase:passphrase",
    name="passphrase",
    help="Change the passphrase of a system that is down.",
)
keys.command("meterseal.cli.keys:backup", name="backup", help="Write one encrypted backup while all runs.")
keys.command("meterseal.cli.keys:restore", name="restore", help="Bring a backup back, or drill it on a copy.")
keys.command(
    "meterseal.cli.keys_doctor:doctor",
    name="doctor",
    help="Say which link is wrong when a message is refused.",
)
keys.command("meterseal.cli.keys_usage:usage", name="usage", help="How often each key was used, over time.")
keys.command("meterseal.cli.keys_usage:certificates", name="certificates", help="List what ends soon.")
keys.command("meterseal.cli.keys_usage:store", name="store", help="Say where the vaults' own keys lie.")
factory = App(name="factory", help="Modules by the batch: manifest, order, packages.")
factory.command("meterseal.cli.keys_factory:template", name="template", help="Print an empty manifest.")
factory.command("meterseal.cli.keys_factory:check", name="check", help="Name every wrong row of a manifest.")
factory.command(
    "meterseal.cli.keys_factory:order", name="order", help="Make the order that an officer signs."
)
factory.command(
    "meterseal.cli.keys_factory:issue", name="issue", help="Enrol, and write the packages; resumable."
)
factory.command("meterseal.cli.keys_factory:state", name="state", help="Say how far a production is.")
keys.command(factory)
quorum = App(name="quorum", help="Who opens the root: shares of officers, for one act at a time.")
quorum.command("meterseal.cli.keys_quorum:show", name="show", help="Say who opens the root.")
quorum.command("meterseal.cli.keys_quorum:begin", name="begin", help="Request a new quorum, or its renewal.")
quorum.command("meterseal.cli.keys_quorum:shares", name="shares", help="Write the shares of a new quorum.")
quorum.command("meterseal.cli.keys_quorum:keep", name="keep", help="Sign that your new share opens.")
quorum.command("meterseal.cli.keys_quorum:confirm", name="confirm", help="Hand in what new holders signed.")
quorum.command(
    "meterseal.cli.keys_quorum:opening", name="opening", help="Show the act that waits for shares."
)
quorum.command("meterseal.cli.keys_quorum:seal", name="seal", help="Seal your share for the act that waits.")
quorum.command(
    "meterseal.cli.keys_quorum:open_root", name="open", help="Hand in shares; the last one does it."
)
keys.command(quorum)
platform = App(name="platform", help="Other people's platforms: application, two signatures, certificate.")
platform.command("meterseal.cli.keys_platform:request", name="request", help="Make a platform's application.")
platform.command("meterseal.cli.keys_orders:sign", name="sign", help="Sign an application as officer.")
platform.command("meterseal.cli.keys_platform:enrol", name="enrol", help="Hand a signed application in.")
platform.command("meterseal.cli.keys_platform:certificate", name="certificate", help="Write its certificate.")
platform.command("meterseal.cli.keys_platform:list_platforms", name="list", help="List them and their calls.")
platform.command(
    "meterseal.cli.keys_platform:sessions", name="sessions", help="List the meters that seal for it now."
)
platform.command(
    "meterseal.cli.keys_platform:withdraw", name="withdraw", help="Request that one is withdrawn."
)
keys.command(platform)
module = App(name="module", help="A module in a reader: checked, unlocked, destroyed, under a signed order.")
module.command("meterseal.cli.keys_module:state", name="state", help="Say what a module is.")
module.command("meterseal.cli.keys_module:check", name="check", help="Is it the one that was enrolled?")
module.command("meterseal.cli.keys_module:pin", name="pin", help="Give it a new PIN.")
module.command("meterseal.cli.keys_module:lock", name="lock", help="Lock it until it is unlocked.")
module.command("meterseal.cli.keys_module:unlock", name="unlock", help="Unlock it.")
module.command("meterseal.cli.keys_module:destroy", name="destroy", help="Erase its keys for good.")
keys.command(module)
app.command(keys)

customer = App(name="customer", help="When customers go, and what they may ask for.")
customer.command(
    "meterseal.cli.people:customer_end", name="end", help="End the agreement that bills a meter."
)
customer.command(
    "meterseal.cli.people:customer_erase",
    name="erase",
    help="Erase a person for good: name, address, key and every way to sign in.",
)
app.command(customer)

app.command(
    "meterseal.cli.status:reseal",
    name="reseal",
    help="Begin new data keys; what is stored moves to them in the background.",
)

app.command(
    "meterseal.cli.status:audit", name="audit", help="Refused messages, after their chain was verified."
)
app.command("meterseal.cli.status:status", name="status", help="Count what the running system holds.")


def main() -> NoReturn:
    """Entry point of the program `meterseal`."""
    try:
        with delivering():
            status = _run(sys.argv[1:])
    except Undelivered as fault:
        status = 1
        if fault.reason:
            _complain(
                f"The answer could not be written to standard output: {fault.reason}. Give it another place."
            )
    raise SystemExit(status)


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        said = " ".join(str(error).split()) or "The arguments are wrong."
        tried = " ".join(("meterseal", *(error.command_chain or ()), "--help"))
        report(LocalError("use.arguments", f"{said} Try: {tried}"), as_json=as_json)
        return 2
    except MetersealError as error:
        report(error, as_json=as_json)
        return 2 if error.code.startswith("use.") else 1
    except OSError as error:
        said = f"{error.filename or 'The system'} cannot be used: {error.strerror}. Mend it and try again."
        report(LocalError("use.file", said), as_json=as_json)
        return 2
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def report(error: MetersealError, *, as_json: bool) -> None:
    """One clear sentence on standard error, or one JSON object on standard output."""
    if as_json:
        import json

        sys.stdout.write(json.dumps({"error": {"code": error.code, "message": error.message}}) + "\n")
    else:
        _complain(error.message)


def _complain(sentence: str) -> None:
    """One sentence on standard error, where there is one."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"meterseal: {sentence}\n")
        sys.stderr.flush()
