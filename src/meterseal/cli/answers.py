"""What commands print: one JSON document for programs, or lines for people in which nothing moves the terminal.

It asks nothing and words nothing.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterable
from typing import Any

from meterseal.app import operator


def show(text: str, *, as_json: bool, lines: Callable[[Any], Iterable[str]]) -> None:
    """Print a JSON answer as it is, or as the lines a person reads of it."""
    if as_json:
        print(text)
    else:
        for line in lines(json_module.loads(text)):
            print(plain(line))


def say(facts: Any, *, as_json: bool, lines: Iterable[str], good: bool = True) -> int:
    """Print structs as one JSON document, or lines for a person; status 0, or 1 when the answer is no."""
    print(operator.as_json(facts) if as_json else "\n".join(map(plain, lines)))
    return 0 if good else 1


def plain(line: str) -> str:
    """One line for a terminal, in which nothing that others wrote (a contact, a reason) moves or hides anything."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line
    )
