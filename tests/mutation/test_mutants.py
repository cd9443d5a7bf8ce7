"""The mutator itself: what it changes, what it leaves alone, and that a known fault is noticed."""

from __future__ import annotations

import ast

from tests.mutation.mutants import mutants
from tests.mutation.run import FITTING, path_of, reasons

SOURCE = '''
"""A docstring of 3."""
def f(x: int) -> int:
    """Another one."""
    if x < 3 and x != 5:
        raise ValueError(f"{x + 1} is wrong")
    g(x)
    return x + 1
'''


def test_each_small_fault_is_made_once_and_is_a_program() -> None:
    changes = [mutant.change.split(" :: ")[1] for mutant in mutants(SOURCE)]
    assert changes == [
        "x < 3 and x != 5 -> x < 3 or x != 5",
        "x < 3 -> x <= 3",
        "3 -> 4",
        "x != 5 -> x == 5",
        "5 -> 6",
        "raise ValueError(f'{x + 1} is wrong') -> pass",
        "g(x) -> pass",
        "return x + 1 -> return None",
        "x + 1 -> x - 1",
        "1 -> 2",
    ]
    for mutant in mutants(SOURCE):
        assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(SOURCE))


def test_every_listed_survivor_is_still_a_mutant_and_has_a_reason() -> None:
    made = {module: {(m.where, m.change) for m in mutants(path_of(module).read_text())} for module in FITTING}
    gone = [key for key in reasons() if key[1:] not in made[key[0]]]
    assert gone == []
    assert all(len(reason) > 20 for reason in reasons().values())
