"""Each process, and a command that only asks one, loads no database that it never opens."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["app.keys", "app.headend", "app.system", "cli.calls"])
def test_who_opens_no_store_loads_none(module: str) -> None:
    asked = (
        f"import sys, meterseal.{module}\n"
        "stores = ('sqlalchemy', 'alembic', 'numpy', 'arro3', 'duckdb')\n"
        "print([name for name in sys.modules if name.split('.')[0] in stores])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
