"""Where the answer cannot go: a full disk, a reader that went away, an output that is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FRAME = "68104433221100337801031F90008016"
SAYING = [
    ["decode", FRAME, "--json"],
    ["decode", FRAME],
    ["decode", "zz", "--json"],
    ["decode", "--file", "{many}"],
    ["--help"],
    ["--version"],
    ["decode", "--help"],
    ["frobnicate", "--json"],
    ["status", "--data", "{nothing}", "--json"],
    ["doctor", "--json"],
]


def run(arguments: list[str], folder: Path, output: int | None, **environment: str) -> tuple[int, str]:
    many = folder / "many"
    many.write_text(f"{FRAME}\n" * 3000)
    named = {"{many}": str(many), "{nothing}": str(folder / "nothing")}
    done = subprocess.run(
        [sys.executable, "-m", "meterseal", *(named.get(word, word) for word in arguments)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", SAYING, ids=" ".join)
def test_a_full_disk_is_one_sentence_and_status_1(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        status, said = run(arguments, tmp_path, full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert status == 1
    assert said.count("\n") == 1, said
    assert "No space left on device" in said


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", SAYING[:6], ids=" ".join)
def test_a_reader_that_went_away_ends_the_command_silently(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(arguments, tmp_path, writer, PYTHONUNBUFFERED=unbuffered) == (1, "")
    finally:
        os.close(writer)


def test_the_first_line_of_many_is_read_and_the_rest_ends_silently(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(f"{FRAME}\n" * 20_000)
    with subprocess.Popen(
        [sys.executable, "-m", "meterseal", "decode", "--file", str(lines)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"protocol"')
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_closed_output_is_said() -> None:
    line = f'"{sys.executable}" -m meterseal decode {FRAME} >&-'
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "closed" in done.stderr


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["lines", "json"])
def test_a_terminal_that_is_not_utf_8_gets_the_answer_all_the_same(
    as_json: tuple[str, ...], tmp_path: Path
) -> None:
    with (tmp_path / "said").open("w+b") as said:
        status, complaint = run(
            ["device", "verbs", *as_json], tmp_path, said.fileno(), PYTHONIOENCODING="latin-1"
        )
        said.seek(0)
        text = said.read().decode("ascii")
    assert (status, complaint) == (0, "")
    assert "\\u6821\\u65f6" in text  # 校时
    if as_json:
        assert "校时" in {row["chinese"] for row in json.loads(text)}
