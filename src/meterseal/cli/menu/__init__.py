"""The command line, every command: a tree of names, each with one line of help.

It imports no command: each lives in a module that is imported when it is called, so that `meterseal decode` does not
wait for a web server's imports.
"""

from __future__ import annotations

from cyclopts import App, Parameter

from meterseal import __version__
from meterseal.cli.menu.keys import keys
from meterseal.cli.menu.meters import concentrator, device, firmware
from meterseal.cli.menu.readings import bill, calendar, forecast, handover, ledger, store, vee, weather

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
app.command("meterseal.cli.sql:sql", name="sql", help="Ask readings and findings of a period in SQL.")
app.command(
    "meterseal.cli.export:export", name="export", help="Write readings as CSV, Arrow, Parquet or CIM XML."
)

account = App(name="account", help="Sign-in links for operators and residents.")
account.command("meterseal.cli.people:account_link", name="link", help="Print a one-time sign-in link.")

customer = App(name="customer", help="When customers go, and what they may ask for.")
customer.command(
    "meterseal.cli.people:customer_end", name="end", help="End the agreement that bills a meter."
)
customer.command(
    "meterseal.cli.people:customer_erase",
    name="erase",
    help="Erase a person for good: name, address, key and every way to sign in.",
)

app.command(
    "meterseal.cli.status:reseal",
    name="reseal",
    help="Begin new data keys; what is stored moves to them in the background.",
)

app.command(
    "meterseal.cli.status:audit", name="audit", help="Refused messages, after their chain was verified."
)
app.command("meterseal.cli.status:status", name="status", help="Count what the running system holds.")

for group in (
    device,
    firmware,
    concentrator,
    bill,
    ledger,
    store,
    vee,
    handover,
    forecast,
    weather,
    calendar,
    account,
    keys,
    customer,
):
    app.command(group)
