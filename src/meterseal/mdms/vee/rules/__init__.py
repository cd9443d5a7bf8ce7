"""The rules by name, one file a family: a new rule is a function, its parameters and a row here; nothing is scanned.

Property tests are drawn from here, so a rule is tested from the day it is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from meterseal.mdms.vee.rules import clock, clocks, days, device, gaps, physics, steps, sums
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule

__all__ = ["RULES", "Found", "Reach", "Rule"]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.name: rule
        for family in (gaps, steps, sums, days, clock, clocks, device, physics)
        for rule in family.RULES
    }
)
"""Every rule by name."""
