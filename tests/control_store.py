"""The control store of a test: copied at the newest schema, for making one takes fifty times as long.

How it is made, and brought up from older versions, is tested in tests/control.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from meterseal.control import open_control


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "control.db"
        open_control(path).dispose()
        assert [one.name for one in Path(folder).iterdir()] == [path.name]
        return path.read_bytes()


def control_at(path: Path) -> sa.Engine:
    """The control store at a path, a new one where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_empty())
    return open_control(path)
