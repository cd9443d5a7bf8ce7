"""The program `meterseal` as a person runs it: a process with arguments, a status, two streams."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from meterseal.cli import main
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]


class Answer(Struct, frozen=True):
    """What one run of the program said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON object it must be."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    def sentence(self) -> str:
        """The one sentence on standard error, without a traceback."""
        assert self.out == "", self.out
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("meterseal: "), self.err
        return self.err.strip()

    def error(self) -> str:
        """The code in the JSON shape of an error."""
        assert "Traceback" not in self.err
        document = self.document
        assert set(document) == {"error"}
        assert set(document["error"]) == {"code", "message"}
        assert len(document["error"]["message"]) > 20
        return str(document["error"]["code"])


def meterseal(*arguments: object, within: float = 60) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "meterseal", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=within,
        stdin=subprocess.DEVNULL,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


Run = Callable[..., Answer]


def here(*arguments: object) -> Answer:
    """The same program in this process, many times faster; an exception that it lets out fails the test."""
    said = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["meterseal", *map(str, arguments)])
        with redirect_stdout(said[0]), redirect_stderr(said[1]), pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    out, err = (one.buffer.getvalue().decode() for one in said)  # type: ignore[attr-defined]
    return Answer(ended.value.code, out, err)


@pytest.fixture
def inside() -> Run:
    """`here`, as an argument."""
    return here


class Up:
    """A running `meterseal up --json`."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meterseal", "up", "--data", str(data), "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.said: dict[str, Any] = json.loads(line)

    def end(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One lab system for every test that only asks."""
    up = Up(tmp_path_factory.mktemp("cli") / "data", "--lab")
    yield up
    assert up.end() == 0
