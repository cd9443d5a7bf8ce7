"""The past of a usage point as an operator asks for it: findings and readings as they were at a time, beside now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meterseal.app.judging import JudgingDesk
from meterseal.app.validation import FindingsQuery, PastQuery
from meterseal.errors import DataError, LocalError
from meterseal.mdms.editing import Wish
from meterseal.model import Batch
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point, register

DAYS = 20
END = FIRST + DAYS * DAY
RUN, EDITED, LATER = END + HOUR, END + DAY, END + 2 * DAY


async def test_findings_and_readings_are_shown_as_they_were(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch(tuple(day_record(0, day, day + 1) for day in range(DAYS) if day != 10)))
    desk = JudgingDesk(mdms, lambda: LATER)

    async def found(**asked: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads((await desk.show("operator", FindingsQuery(**asked))).json)
        return rows

    async def past(as_of: int) -> list[dict[str, Any]]:
        query = PastQuery(device_id=device(0), since=END - DAY, until=END, as_of=as_of)
        rows: list[dict[str, Any]] = json.loads((await desk.past("operator", query)).json)["readings"]
        return rows

    await mdms.run_vee(RUN)
    wish = Wish(usage_point=point(0), since=END, until=END, register=f"{(register(0, END) + 5) / 100:.2f}")
    edit = mdms.edits.propose(
        wish, mdms.edits.plan(wish, EDITED), reason="r", effect="", people=0, author="o-1", now=EDITED
    )
    await mdms.edits.save(edit.number, edit.digest, (), "o-1", EDITED)
    await mdms.run_vee(LATER - HOUR)
    rules = {row["rule"] for row in await found()}
    assert {"gap", "edited"} <= rules
    assert await found(as_of=RUN - 1) == []
    early = {row["rule"] for row in await found(as_of=EDITED - 1)}
    assert "gap" in early
    assert "edited" not in early
    assert await found(as_of=RUN, since=END, until=END + DAY) == []
    for as_of, more in ((EDITED - 1, 0), (EDITED, 5), (LATER * 2, 5)):
        rows = await past(as_of)
        assert len(rows) == 25
        last = rows[-1]
        assert last["then"]["register"] == f"{(register(0, END) + more) / 100:.2f}"
        assert (last["now"]["register"], last["now"]["quality"]) == (
            f"{(register(0, END) + 5) / 100:.2f}",
            "edited",
        )
    assert all(row["then"] == {"register": None, "quality": None} for row in await past(FIRST))
    with pytest.raises(LocalError):
        await desk.past("operator", PastQuery(usage_point=point(0), since=0, until=END, as_of=END))
    with pytest.raises(DataError):
        await desk.past("operator", PastQuery(device_id=bytes(8), since=FIRST, until=END, as_of=END))
    await mdms.close()
    engine.dispose()
