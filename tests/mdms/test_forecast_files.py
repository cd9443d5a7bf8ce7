"""Files of forecasts, made, moved to a newer key, forgotten and looked at all at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.mdms.forecast_files import Block, ForecastFiles

BEGIN = 1_793_462_400_000


def block(model: str, begin: int = BEGIN) -> Block:
    return Block(begin, "heat", ("up-1",), (model,), b"", b"", b"", b"")


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing({1: SymmetricKey.from_bytes(bytes(16), "data key")}, 1)


@pytest.fixture
def files(tmp_path: Path, ring: KeyRing) -> ForecastFiles:
    return ForecastFiles(tmp_path, "store", ring)


def kept(files: ForecastFiles, one: Block) -> None:
    """A run of one block."""
    files.write(one, 0)
    files.finish(one.begin)


def test_a_forecast_made_while_its_older_one_moves_to_a_newer_key_is_the_one_that_stays(
    files: ForecastFiles, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(files, block("old"))
    ring.add(2, SymmetricKey.from_bytes(bytes(range(16)), "newer"))
    opened, go_on, content = threading.Event(), threading.Event(), ForecastFiles._content

    def slow(self: ForecastFiles, name: str) -> bytes:
        found = content(self, name)
        opened.set()
        assert go_on.wait(60)
        return found

    monkeypatch.setattr(ForecastFiles, "_content", slow)
    moving = threading.Thread(target=files.reseal)
    moving.start()
    assert opened.wait(60)
    making = threading.Thread(target=kept, args=(files, block("new")))
    making.start()
    making.join(0.1)
    go_on.set()
    moving.join()
    making.join()
    assert [one.models for one in files.blocks(BEGIN)] == [("new",)]
    assert files.older() == 0


def test_a_look_at_all_files_minds_none_that_is_forgotten_meanwhile(
    files: ForecastFiles,
) -> None:
    for begin in range(3):
        kept(files, block("m", BEGIN + begin))
    look: Iterator[tuple[str, object]] = files.opened()
    _, error = next(look)
    assert error is None
    files.forget(BEGIN + 2, BEGIN + 9)
    assert [error for _, error in look] == [None]
