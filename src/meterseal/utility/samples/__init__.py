"""Sample tariffs for the first steps of a utility: documents beside this file.

Their prices are made up for demonstration; no supplier charges them, and their codes begin with `sample-`.
"""

from __future__ import annotations

from importlib.resources import files

from meterseal.utility.tariff import AnyTariff, parse_tariff


def sample_tariffs() -> tuple[AnyTariff, ...]:
    """Return the sample tariffs: tiered water and gas, flat heat, time-of-use electricity without and with feed-in."""
    entries = sorted(files(__name__).iterdir(), key=lambda entry: entry.name)
    return tuple(parse_tariff(entry.read_bytes()) for entry in entries if entry.name.endswith(".json"))
