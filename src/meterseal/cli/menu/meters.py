"""The command line, commands of meters, their firmware and concentrators: names, and a line of each.

It imports no command: each lives in a module that is imported when it is called.
"""

from __future__ import annotations

from cyclopts import App

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
