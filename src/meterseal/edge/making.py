"""Station edge, the making of emulated modules: their key pairs, and what personalisation writes into them.

It holds no key of the security service: K_b and K_r arrive in an envelope that only the module opens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.edge.chip import Personal
from meterseal.edge.memories import Memories
from meterseal.link.identities import is_concentrator
from meterseal.security.messages import Personalisation


class Made(Struct, frozen=True):
    """A module that left the factory: for which device, its serial, its public point (65 bytes), its
    suite.
    """

    device_id: bytes
    module_id: bytes
    point: bytes
    suite: int


def make(directory: Path, wanted: Iterable[tuple[bytes, bytes, int]]) -> list[Made]:
    """Make modules (device id, module id, suite) with a key pair each; one that is made already keeps its key."""
    memories = Memories(directory)
    made: list[Made] = []
    memories.connection.execute("BEGIN")
    try:
        for device_id, module_id, suite in wanted:
            chip = memories.chip(module_id)
            point = chip.state().point or chip.make_key(module_id)
            made.append(Made(device_id, module_id, point, suite))
        memories.connection.execute("COMMIT")
    finally:
        memories.close()
    return made


def personalise(directory: Path, items: Iterable[Personalisation]) -> int:
    """Write ids, keys and trust into the modules; how many. One that is personalised already is left
    alone.
    """
    memories = Memories(directory)
    count = 0
    memories.connection.execute("BEGIN")
    try:
        for what in items:
            chip = memories.chip(what.module_id)
            if chip.state().life != 0:
                continue
            chip.personalise(personal(what))
            chip.pair(sm2.encrypt(chip.state().point, expose(memories.pairing(what.device_id))))
            count += 1
        memories.connection.execute("COMMIT")
    finally:
        memories.close()
    return count


def personal(what: Personalisation) -> Personal:
    """What the service made, as it is written into the module; meters stand behind a concentrator."""
    return Personal(
        device_id=what.device_id,
        suite=what.suite,
        project_id=what.project_id,
        key_version=what.key_version,
        bound_at=what.bound_at,
        envelope=what.envelope,
        root=what.root,
        chain=what.chain,
        profile=what.profile,
        gathered=not is_concentrator(what.device_id),
    )
