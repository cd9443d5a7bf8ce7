"""The command line, commands of readings, from the store to bills and forecasts: names, and a line of each.

It imports no command: each lives in a module that is imported when it is called.
"""

from __future__ import annotations

from cyclopts import App

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

ledger = App(name="ledger", help="Checkpoints and proofs of what was accepted; find any later change.")
ledger.command("meterseal.cli.ledger:checkpoint", name="checkpoint", help="Print the newest checkpoint.")
ledger.command("meterseal.cli.ledger:prove", name="prove", help="Prove that a leaf is in the ledger.")
ledger.command(
    "meterseal.cli.ledger:consistency", name="consistency", help="Prove that it only grew since a checkpoint."
)
ledger.command(
    "meterseal.cli.ledger:verify", name="verify", help="Compare everything stored with its checkpoints."
)

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

handover = App(
    name="handover", help="Readings for a warehouse, in deliveries of which none can get lost unseen."
)
handover.command("meterseal.cli.handover:write", name="write", help="Write the next delivery.")
handover.command("meterseal.cli.handover:check", name="check", help="Show that deliveries are whole.")

forecast = App(name="forecast", help="What will probably be used, and how good earlier forecasts were.")
forecast.command("meterseal.cli.forecast:run", name="run", help="Make today's forecasts now.")
forecast.command(
    "meterseal.cli.forecast:forecast", name="show", help="What a meter or a medium will probably use."
)
forecast.command("meterseal.cli.forecast:score", name="score", help="How good the last days' forecasts were.")
forecast.command(
    "meterseal.cli.forecast:backtest", name="backtest", help="How good forecasts are over a simulated street."
)

weather = App(name="weather", help="Temperatures that forecasts and rules look at.")
weather.command(
    "meterseal.cli.surroundings:weather_import", name="import", help="Take temperatures from a CSV."
)
weather.command("meterseal.cli.surroundings:weather_show", name="show", help="From when to when it is known.")

calendar = App(name="calendar", help="Public holidays, and weekend days that are worked in exchange.")
calendar.command("meterseal.cli.surroundings:calendar_import", name="import", help="Take days from a CSV.")
calendar.command("meterseal.cli.surroundings:calendar_show", name="show", help="List them.")
