"""Station MDMS, an edit taken back: what was visible before it, as further versions, or a refusal.

Pure: it saves nothing (`edits` does). Nothing that was stored goes; an undone edit stays readable under the undoing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec
import numpy as np

from meterseal.mdms.edit_versions import (
    EDIT,
    NO_NUMBER,
    UNDO,
    USABLE,
    Plan,
    Scene,
    basis,
    lifted,
    own_method,
    refused,
    together,
    version_of,
)
from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import Rows, pick, visible
from meterseal.model import Quality


def undone(edit: int, since: int, until: int, scene: Scene) -> Plan:
    """What was visible before an edit, as further versions, wherever the edit is visible still.

    The method keeps what it was before, uncertainty included. DataError `edit.gone` when nothing of the edit is
    visible any more, `edit.built-on` when a later edit would no longer meet its neighbours.
    """
    within = (scene.rows["end_at"] >= since) & (scene.rows["end_at"] <= until)
    texts, shown = scene.words.texts, visible(scene.rows[within])
    ours = shown[[own_method(texts[method]) == f"{EDIT}{edit}" for method in shown["method"].tolist()]]
    if not len(ours):
        raise refused(
            "edit.gone", f"nothing of edit {edit} is visible any more: later readings or edits replaced it"
        )
    made = []
    moved = Decimal(0)
    word = scene.words.known(f"{EDIT}{edit}")
    for row in ours:
        at = int(row["end_at"])
        here = scene.rows[scene.rows["end_at"] == at]
        wrote = int(here["version"][here["method"] == word].min())
        before = visible(here[here["version"] < wrote])
        if not len(before):
            missing = version_of(scene, at, 0, row, int(row["version"]) + 1, int(row["origin"]))
            made.append(
                msgspec.structs.replace(missing, quality=Quality.MISSING, method=f"{UNDO}{NO_NUMBER}")
            )
            continue
        was = before[0]
        how = own_method(texts[int(was["method"])])
        moved = max(moved, abs(_value(was) - _value(row)))
        back = version_of(scene, at, int(was["register"]), was, int(row["version"]) + 1, int(was["origin"]))
        method = f"{UNDO}{NO_NUMBER}:{how}" if how else f"{UNDO}{NO_NUMBER}"
        made.append(msgspec.structs.replace(back, quality=Quality(int(was["quality"])), method=method))
    _check_built_on(scene, made, ours)
    return Plan(
        versions=tuple(together(made)),
        first=since,
        last=until,
        basis=basis(scene.rows, since, until),
        moved=moved,
    )


def _check_built_on(scene: Scene, made: Sequence[Version], ours: Rows) -> None:
    """No later edit beside an undone one may be left with a fall."""
    shown = visible(scene.rows)
    good = shown[np.isin(shown["quality"], USABLE)]
    texts = scene.words.texts
    gone = set(ours["end_at"].tolist())
    back = {one.start_at: one.registers[0] for one in made if one.quality in USABLE}
    then = pick(good, np.array([at not in gone or at in back for at in good["end_at"].tolist()], np.bool_))
    for row in then:
        row["register"] = back.get(int(row["end_at"]), row["register"])
    then = lifted(then, scene.context)
    edits = {
        at
        for at, method in zip(good["end_at"].tolist(), good["method"].tolist(), strict=True)
        if at not in gone and own_method(texts[method]).startswith(EDIT)
    }
    for (before, lower), (after, higher) in pairwise(then[["end_at", "register"]].tolist()):
        if higher < lower and ((before in back and after in edits) or (after in back and before in edits)):
            later = own_method(
                texts[int(good["method"][good["end_at"] == (after if after in edits else before)][0])]
            )
            raise refused("edit.built-on", f"{later} beside it would no longer meet it; undo that one first")


def _value(row: np.void) -> Decimal:
    return Decimal(int(row["register"])).scaleb(int(row["exponent"]))
