"""Each refusal of link, crypto and security has a test that names its code: raised here, asserted there.

It reads sources only. A code counts as shown when a test holds it as a whole string, alone or in a table of cases; what
cannot be reached from a test, and why, stands in NOT_REACHED.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import meterseal

SOURCE = Path(meterseal.__file__).parent
TESTS = Path(__file__).parents[1]
PACKAGES = ("link", "crypto", "security")
CODE = re.compile(r"^(link|crypto|security|module|wire|mesh|audit|keys)\.[a-z0-9][a-z0-9-]*$")
RAISERS = {"TrustError", "PeerError", "LocalError", "EngineError", "DataError", "ConsentError"}

NOT_REACHED: dict[str, str] = {}
"""Code -> why no test can meet it."""


def raised() -> dict[str, set[str]]:
    """Codes that stand in these packages' calls, and where."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((SOURCE / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                refusing = name in RAISERS or name.strip("_").startswith(
                    ("refuse", "need", "wrong", "bad", "deny")
                )
                for value in node.args if refusing else []:
                    if (
                        isinstance(value, ast.Constant)
                        and isinstance(value.value, str)
                        and CODE.match(value.value)
                    ):
                        found.setdefault(value.value, set()).add(f"{path.relative_to(SOURCE)}:{value.lineno}")
    return found


def asserted() -> set[str]:
    """Codes that tests hold as whole strings, or as the pattern of `match=`."""
    own = Path(__file__)
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        if path == own:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.replace("\\", "")
                if CODE.match(text):
                    found.add(text)
    return found


def test_every_code_that_is_raised_is_asserted_by_a_test() -> None:
    codes = raised()
    assert len(codes) > 60
    shown = asserted() | set(NOT_REACHED)
    missing = {code: sorted(places) for code, places in codes.items() if code not in shown}
    assert missing == {}


def test_what_is_not_reached_is_still_raised_and_not_asserted() -> None:
    assert set(NOT_REACHED) <= set(raised())
    assert not set(NOT_REACHED) & asserted()
    assert all(len(reason) > 20 for reason in NOT_REACHED.values())
