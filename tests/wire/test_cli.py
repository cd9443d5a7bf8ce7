"""`meterseal decode` as a program: statuses, lines, standard input, and how little it imports."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .frames import VECTORS
from .test_vectors import differences

GOOD = "68104433221100337881161F9000007766552C007766552C3101221105152021841316"
BAD = GOOD.replace("1316", "0816")


def run(*arguments: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "meterseal", "decode", *arguments],
        input=feed,
        capture_output=True,
        check=False,
    )


def objects(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_every_vector_through_a_file(tmp_path: Path) -> None:
    lines = tmp_path / "frames.txt"
    lines.write_text("".join(f"{vector['hex']}\n" for vector in VECTORS), "utf-8")
    for arguments in (["--file", str(lines)], ["--file", str(lines), "--json"]):
        done = run(*arguments)
        answers = objects(done.stdout)
        assert (done.returncode, done.stderr, len(answers)) == (0, b"", len(VECTORS))
        for vector, answer in zip(VECTORS, answers, strict=True):
            assert differences(vector["expect"], answer) == []


def test_bad_lines_are_answered_too(tmp_path: Path) -> None:
    lines = tmp_path / "frames.txt"
    lines.write_bytes(b"zz\n\n\xff\xfe\x00\n" + BAD.encode() + b"\r\n" + GOOD.encode())
    done = run("--file", str(lines))
    assert done.returncode == 0
    assert [answer["valid"] for answer in objects(done.stdout)] == [False, False, False, False, True]
    assert run("--file", "-", feed=lines.read_bytes()).stdout == done.stdout


@pytest.mark.parametrize(("hex_text", "status"), [(GOOD, 0), (BAD, 1), ("zz", 1), (GOOD[:-2], 1)])
def test_status_says_whether_the_frame_is_valid(hex_text: str, status: int) -> None:
    with_json = run(hex_text, "--json")
    plain = run(hex_text)
    assert (with_json.returncode, plain.returncode) == (status, status)
    assert objects(with_json.stdout)[0]["valid"] is (status == 0)
    assert (b"NOT VALID" in plain.stdout) is (status == 1)
    assert b"\x1b" not in plain.stdout


def test_standard_input_and_several_words() -> None:
    pairs = [GOOD[index : index + 2] for index in range(0, len(GOOD), 2)]
    assert run("--json", *pairs).stdout == run("-", "--json", feed=GOOD.encode()).stdout


@pytest.mark.parametrize(
    "arguments",
    [[], [""], ["-"], ["--file", "/nowhere/frames"], ["--file", "/"], ["--jsn", GOOD], [GOOD, "--file", "-"]],
)
def test_wrong_use_is_one_sentence_and_status_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_a_decode_loads_no_server_and_is_quick(tmp_path: Path) -> None:
    """CPU seconds beside those of importing the argument parser alone, both with their compiled files at hand."""
    heavy = "['litestar', 'sqlalchemy', 'numpy', 'cryptography', 'granian', 'arro3', 'asyncio']"
    code = (
        "import sys; from meterseal.cli.decode import decode; "
        f"decode('{GOOD}', json=True, file=None); "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr.strip() == b"[]"
    whole = min(_cpu(tmp_path, "-m", "meterseal", "decode", GOOD, "--json") for _ in range(5))
    parser = min(_cpu(tmp_path, "-c", "import cyclopts") for _ in range(5))
    assert whole < 2.5 * parser


def _cpu(folder: Path, *arguments: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        check=True,
        env={**environment, "PYTHONPYCACHEPREFIX": str(folder)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_line_without_end_is_cut_and_said_and_the_next_one_answered(tmp_path: Path) -> None:
    lines = tmp_path / "frames.txt"
    lines.write_bytes(b"68" * (3 << 20) + b"\n" + GOOD.encode() + b"\n")
    first, second = objects(run("--file", str(lines)).stdout)
    assert "Only the first 1,048,576 characters" in first["error"]["message"]
    assert second["valid"] is True


def test_standard_input_without_end_is_cut_and_said() -> None:
    done = run("-", "--json", feed=GOOD.encode() + b" zz" * (2 << 20))
    assert objects(done.stdout)[0]["anomalies"] == [
        "cut: only the first 1,048,576 characters of the input were looked at"
    ]


def test_a_decode_loads_no_module_of_another_command() -> None:
    code = (
        "import sys; from meterseal.cli import main\n"
        f"sys.argv = ['meterseal', 'decode', '{GOOD}', '--json']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted(n for n in sys.modules if n.startswith('meterseal.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = {name for name in done.stderr.split() if not name.startswith("meterseal.wire")}
    assert loaded == {
        "meterseal.cli",
        "meterseal.cli.arguments",
        "meterseal.cli.decode",
        "meterseal.cli.menu",
        "meterseal.cli.menu.keys",
        "meterseal.cli.menu.meters",
        "meterseal.cli.menu.readings",
        "meterseal.cli.outlet",
        "meterseal.errors",
        "meterseal.units",
    }
