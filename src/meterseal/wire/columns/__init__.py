"""Station wire, columns: many frames of one kind as numpy arrays and back, and the same one frame at a time.

It takes the standard forms only and says of every other frame why not; `interpret` reads whatever the field sends.
Nothing here is imported by the rest of the station, so that a decoder needs no numpy.
"""

from meterseal.wire.columns.energy import (
    Energies,
    EnergyAnswer,
    energies,
    energy_frames,
    one_energy,
    one_energy_frame,
)
from meterseal.wire.columns.intervals import (
    IntervalBlock,
    Intervals,
    interval_frames,
    intervals,
    one_interval_block,
    one_interval_frame,
)
from meterseal.wire.columns.registers import (
    HEAT,
    VOLUME,
    RegisterAnswer,
    Registers,
    one_register_answer,
    one_register_frame,
    register_frames,
    registers,
)
from meterseal.wire.columns.stack import UNSET, Stack, Why, stack

__all__ = [
    "HEAT",
    "UNSET",
    "VOLUME",
    "Energies",
    "EnergyAnswer",
    "IntervalBlock",
    "Intervals",
    "RegisterAnswer",
    "Registers",
    "Stack",
    "Why",
    "energies",
    "energy_frames",
    "interval_frames",
    "intervals",
    "one_energy",
    "one_energy_frame",
    "one_interval_block",
    "one_interval_frame",
    "one_register_answer",
    "one_register_frame",
    "register_frames",
    "registers",
    "stack",
]
