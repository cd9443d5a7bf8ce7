"""The mutator itself: what it changes, what it leaves alone, and that a known fault is noticed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.mutation.fitting import FIRST, FITTING
from tests.mutation.mutants import mutants
from tests.mutation.run import ROOT, path_of, reasons

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
    assert [one.change for one in mutants("a = f(1, 1)")] == [
        "a = f(1, 1) :: 1 -> 2",
        "a = f(1, 1) :: 1 -> 2 (2)",
    ]
    assert [one.source for one in mutants("a = f(1, 1)")] == ["a = f(2, 1)", "a = f(1, 2)"]
    for mutant in mutants(SOURCE):
        assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(SOURCE))


def test_every_listed_survivor_is_still_a_mutant_and_has_a_reason() -> None:
    made = {module: {(m.where, m.change) for m in mutants(path_of(module).read_text())} for module in FITTING}
    gone = [key for key in reasons() if key[1:] not in made[key[0]]]
    assert gone == []
    assert all(len(reason) > 20 for reason in reasons().values())


def test_no_module_of_link_and_crypto_is_left_out() -> None:
    source = path_of("link.records").parents[1]
    there = {f"{part}.{one.stem}" for part in ("link", "crypto") for one in (source / part).glob("*.py")}
    assert there - {"link.__init__", "crypto.__init__"} == set(FITTING)


def test_every_file_of_tests_that_is_named_is_there() -> None:
    named = {file for files in (*FITTING.values(), *FIRST.values()) for file in files}
    assert [file for file in sorted(named) if not (ROOT / file).exists()] == []
    assert FIRST.keys() <= FITTING.keys()


PLANTED = """
from tests.mutation import run
from tests.mutation.fitting import FITTING
from tests.mutation.mutants import Mutant

run.FITTING["link.transport"] = ["tests/link/test_transport.py"]
sound = run.path_of("link.transport").read_text()
line = next(at for at, text in enumerate(sound.splitlines(), 1) if "size = int.from_bytes" in text)
sources = [
    sound.replace("if not 0 < size", "if not 0 <= size"),
    sound.replace("size = int.from_bytes", "size = 0 + int.from_bytes"),
    sound.replace("LONGEST + ENVELOPE_HEADER", "LONGEST + 12"),
]
assert len({sound, *sources}) == 4
places = [("MessageReader.feed", line + 1), ("MessageReader.feed", line), ("", 1)]
chosen = [Mutant(where, str(at), at, at, lambda s=s: s) for (where, at), s in zip(places, sources)]
found, _ = run.warm("link.transport", chosen, {})
print([one and one.split("::")[1].split("[")[0] for one in found])
print([bool(one) for one in run.noticed("link.transport", [(source, "") for source in sources])])
"""


def running(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_planted_fault_is_noticed_and_a_harmless_change_is_not() -> None:
    """In a loaded module and with all imported anew; what runs at import alone is left to the second way."""
    ran = running(PLANTED)
    assert ran.stdout.splitlines() == [
        "['test_a_length_that_no_message_has_ends_the_stream', '', None]",
        "[True, False, True]",
    ], ran.stderr


FAILING = """
import sys
from pathlib import Path
from tests.mutation import run

run.KEPT = Path(sys.argv[1])
run.FITTING["link.transport"] = [str(run.KEPT / "test_wrong.py")]
print(run.main(["link.transport", "link.handshake"]))
"""


def test_a_module_whose_tests_fail_by_themselves_is_a_failure_and_the_next_is_tried(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text("def test_wrong():\n    assert False\n")
    ran = running(FAILING, str(tmp_path))
    first, second, status = ran.stdout.splitlines()
    assert first.startswith("link.transport: its tests fail without any fault (")
    assert "test_wrong.py::test_wrong" in first
    assert second.startswith("link.handshake: 0 mutants, 0 noticed, 0 with a reason, 0 survive")
    assert status == "1"
