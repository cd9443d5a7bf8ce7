"""The command line, commands of the security service's keys: names, and a line of each.

It imports no command: each lives in a module that is imported when it is called.
"""

from __future__ import annotations

from cyclopts import App

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
