"""Station VEE, how classes of customers spread a day's use over its hours: of no real place, to be replaced by one's own.

Only the shape counts. Per class and medium two rows of 24 local hours: working days, and free days.
"""

from __future__ import annotations

from meterseal.model import Medium

_FAMILY_WATER = (
    (1, 1, 1, 1, 1, 4, 12, 14, 9, 6, 4, 6, 8, 5, 4, 4, 5, 9, 13, 14, 14, 13, 9, 4),
    (2, 1, 1, 1, 1, 2, 5, 9, 12, 13, 12, 10, 10, 8, 7, 6, 7, 9, 12, 13, 13, 12, 9, 5),
)
_FAMILY_GAS = (
    (1, 1, 1, 1, 1, 3, 8, 8, 4, 3, 5, 11, 9, 3, 2, 2, 4, 12, 15, 10, 6, 5, 3, 1),
    (1, 1, 1, 1, 1, 2, 4, 7, 8, 6, 7, 13, 12, 4, 3, 3, 5, 12, 15, 10, 6, 5, 3, 1),
)
_FAMILY_POWER = (
    (4, 3, 3, 3, 3, 4, 6, 8, 6, 5, 5, 7, 7, 6, 5, 5, 6, 9, 13, 15, 15, 13, 10, 6),
    (5, 4, 3, 3, 3, 3, 4, 6, 8, 9, 9, 10, 10, 9, 8, 8, 8, 10, 13, 14, 14, 13, 10, 7),
)
_HEATED = ((10, 10, 10, 10, 11, 12, 12, 11, 10, 9, 9, 8, 8, 8, 8, 8, 9, 9, 10, 10, 10, 10, 10, 10),) * 2
_OFFICE = (
    (2, 2, 2, 2, 2, 2, 4, 9, 14, 16, 16, 15, 13, 14, 16, 16, 15, 12, 7, 4, 3, 2, 2, 2),
    (2, 2, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 2, 2, 2, 2, 2),
)

PROFILES: dict[tuple[str, Medium], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ("dwelling", "water"): _FAMILY_WATER,
    ("dwelling", "gas"): _FAMILY_GAS,
    ("dwelling", "heat"): _HEATED,
    ("dwelling", "electricity"): _FAMILY_POWER,
    ("business", "water"): _OFFICE,
    ("business", "gas"): _OFFICE,
    ("business", "heat"): _HEATED,
    ("business", "electricity"): _OFFICE,
}
