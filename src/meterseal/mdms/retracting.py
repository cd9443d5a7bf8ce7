"""Station MDMS, what is taken back: versions that say nothing, in the place of readings that were not this usage point's.

It writes nothing and removes nothing; the earlier versions stay stored, and can be shown as of their time.
"""

from __future__ import annotations

from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import EVER, ORIGINS, RETRACTED, visible
from meterseal.mdms.store.store import Store
from meterseal.model import Quality


def taken_back(store: Store, usage_point: str, at: int, recorded_at: int) -> list[Version]:
    """Versions that take back every reading of a usage point from `at` on that was recorded up to `recorded_at`."""
    words = store.words
    keys = [key for key in store.keys_stored() if words.texts[key.point] == usage_point]
    return [
        Version(
            usage_point=usage_point,
            medium=words.medium[key.point],
            channel=key.channel,
            start_at=int(row["end_at"]),
            step=0,
            registers=(0,),
            exponent=int(row["exponent"]),
            unit=words.texts[int(row["unit"])],
            quality=Quality.MISSING,
            method=RETRACTED,
            recorded_at=recorded_at,
            origin=ORIGINS[int(row["origin"])],
            version=int(row["version"]) + 1,
        )
        for key in keys
        for row in visible(store.rows(key, at, EVER))
        if int(row["recorded_at"]) <= recorded_at and words.texts[int(row["method"])] != RETRACTED
    ]
