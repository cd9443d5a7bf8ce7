"""Beside the path: the modules of a street, and an attacker's copy of one.

How a module is made and personalised is `edge.making`'s.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from meterseal.edge.cardmemory import CardMemory
from meterseal.edge.chip import Chip
from meterseal.edge.image import state_from_bytes, state_to_bytes
from meterseal.edge.making import Made, make
from meterseal.edge.memories import Memories
from meterseal.errors import LocalError
from meterseal.kit.plan import StreetPlan


def manufacture(directory: Path, plan: StreetPlan) -> list[Made]:
    """Make the module of every sealed meter of the plan; one that is made already keeps its key."""
    return make(
        directory,
        [(meter.device_id, meter.module_id, meter.suite) for meter in plan.meters if not meter.plain],
    )


def manufacture_concentrator(directory: Path, plan: StreetPlan) -> Made:
    """Make the concentrator's module (suite 1), in a directory of its own."""
    return make(directory, [(plan.concentrator_id, plan.concentrator_module, 1)])[0]


def copy_module(directory: Path, module_id: bytes, other_device: bytes, into: Path) -> Chip:
    """An attacker's copy: the module's memory with its storage key, put into another meter, powered on.

    The copy claims `other_device`; what the platform makes of it is for the caller to see. LocalError
    `kit.copy` when the module was never personalised.
    """
    source = Memories(directory)
    target = Memories(into)
    try:
        pages = source.sealed(module_id)
        content = {name: pages.read(name) for name in pages.names()}
    finally:
        source.close()
    image = content.get("state")
    if image is None:
        raise LocalError(
            "kit.copy", f"There is no module {module_id.hex()} in {directory}; personalise it first."
        )
    content["state"] = moved(image, other_device)
    copy = target.sealed(module_id)
    copy.write(content)
    # Who has the storage key can undo the pairing too; what is left is that the platform knows K_b and the chain.
    CardMemory(copy).change(lambda card: replace(card, pairing=b""))
    return target.chip(module_id)


def moved(image: bytes, device_id: bytes) -> bytes:
    """A module's state that says it belongs to another device and has no session."""
    state = state_from_bytes(image)
    return state_to_bytes(replace(state, device_id=device_id, current=None, previous=None))
