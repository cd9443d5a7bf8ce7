"""Each process, and a command that only asks one, loads nothing that it never uses: what it loads costs every start."""

from __future__ import annotations

import subprocess
import sys

import pytest

STORES = ("sqlalchemy", "alembic", "numpy", "arro3", "duckdb")


def loaded(program: str) -> set[str]:
    """What is in memory at the end of a program, or where it ends by itself."""
    said = f"import os, sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], input="", capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "app.keys",
        "app.headend",
        "app.system",
        "cli.calls",
        "cli.status",
        "cli.vee",
        "cli.runs",
        "cli.changes",
        "cli.facts",
    ],
)
def test_who_opens_no_store_loads_none(module: str) -> None:
    assert not loaded(f"import meterseal.{module}") & set(STORES)


def test_who_asks_the_system_loads_neither_its_keys_nor_its_log() -> None:
    assert not loaded("import meterseal.cli.calls") & {"structlog", "rich", "meterseal.security.service"}


@pytest.mark.parametrize("name", ["keys", "headend", "platform", "web"])
def test_a_process_starts_without_colours(name: str) -> None:
    found = loaded(f"""
from meterseal.app import process
def leave(status):
    print(*sys.modules)
    raise SystemExit(0)
os._exit = leave
process.main({name!r})  # its standard input ends, so it does
""")
    assert {f"meterseal.app.{name}", "structlog"} <= found
    assert not found & {"rich", "pygments"}


def test_the_platform_loads_neither_the_security_service_nor_a_web_client() -> None:
    assert not loaded("import meterseal.app.platform") & {"meterseal.security.service", "urllib3"}


def test_the_demo_loads_no_database() -> None:
    assert not loaded("import meterseal.kit.demo") & (set(STORES) - {"numpy"})


def test_who_has_colours_keeps_them_when_a_process_is_started_within() -> None:
    found = loaded("""
import rich.console
from meterseal.app import process
def leave(status):
    assert sys.modules["rich"] is rich and rich.console is sys.modules["rich.console"]
    print(*sys.modules)
    raise SystemExit(0)
os._exit = leave
process.main("keys")
""")
    assert {"meterseal.app.keys", "rich"} <= found
