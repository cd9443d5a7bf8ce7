"""A file of meters is somebody else's: bounded, checked whole, and refused with the lines that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.app import operator
from meterseal.cli import adding
from meterseal.errors import LocalError

HEAD = "device_id,model,concentrator,bus,since,dwelling\n"
ROW = "1078330011220001,water-generic,f000000000000001,0,2026-11-01,a\n"


def refused(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "meters.csv"
    path.write_bytes(content)
    with pytest.raises(LocalError) as error:
        adding.add(data=tmp_path, file=path)
    assert error.value.code == "use.file"
    return error.value.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line"),
        (HEAD.encode(), "names no meter"),
        (b"device_id,model\n1,2\n", "first line"),
        (HEAD.replace("bus", "device_id").encode() + ROW.encode(), "first line"),
        (HEAD.replace("bus", "password").encode() + ROW.encode(), "first line"),
        (HEAD.encode() + b"1078330011220001,water-generic\n", "line 2"),
        (HEAD.encode() + ROW.encode() + ROW.encode(), "line 3: 1078330011220001 stands in line 2"),
        (HEAD.encode() + ROW.replace("water-generic", "../../etc").encode(), "no meter model"),
        (HEAD.encode() + ROW.replace(",0,", ",٣,").encode(), "no bus"),
        (HEAD.encode() + ROW.replace(",0,", ",-1,").encode(), "no bus"),
        (HEAD.encode() + ROW.replace("2026-11-01", "2026-13-01").encode(), "no date"),
        (HEAD.encode() + ROW.replace("f000000000000001", "").encode(), "no device id"),
        (HEAD.encode() + b'"' + b"x" * 70_000, "no CSV"),
        (HEAD.encode() + b"x" * 70 + b",a,b,c,d,e\n", "64 characters"),
        (HEAD.encode() + b"\xff\xfe\n", "UTF-8"),
        (HEAD.encode() + b"\x00\n", "no text"),
        (HEAD.encode() + b"\n" * (1 << 20), "1 MiB"),
        (HEAD.encode() + b",,,,,\n" * 5_001, "5000 rows"),
    ],
)
def test_a_hostile_file_changes_nothing(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refused(tmp_path, content)


def test_every_wrong_line_is_said_up_to_a_bound(tmp_path: Path) -> None:
    rows = "".join(f"wrong{number},water-generic,f000000000000001,,,\n" for number in range(100))
    said = refused(tmp_path, (HEAD + rows).encode()).splitlines()
    assert len(said) == 22
    assert said[-1] == "and 80 more rows."


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as error:
        adding.add(data=tmp_path, file=tmp_path / "none.csv")
    assert "cannot be read" in error.value.message


@pytest.mark.parametrize("how", [{}, {"meter": "1078330011220001", "file": Path("x")}])
def test_one_meter_or_a_file(tmp_path: Path, how: dict[str, object]) -> None:
    with pytest.raises(LocalError) as error:
        adding.add(data=tmp_path, **how)  # type: ignore[arg-type]
    assert error.value.code == "use.add"


def test_rows_of_one_dwelling_go_together_and_a_dry_run_asks_for_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[operator.Enrol] = []

    def answer(data: Path, method: str, request: operator.Enrol, *rest: object, **more: object) -> object:
        asked.append(request)
        return operator.EnrolReply(meters=())

    monkeypatch.setattr(adding, "ask", answer)
    path = tmp_path / "meters.csv"
    gas = ROW.replace("1078", "3078").replace("water", "gas")
    other = ROW.replace("0001,water", "0002,water").replace(",a\n", ",\n")
    path.write_text("\ufeff" + HEAD + ROW + gas + "\n" + other, "utf-8")
    assert adding.add(data=tmp_path, file=path, dry_run=True) == 0
    (request,) = asked
    assert request.dry_run
    assert [[one.medium for one in home.supplies] for home in request.premises] == [
        ["water", "gas"],
        ["water"],
    ]
    first = request.premises[0].supplies[0]
    assert (first.suite, first.riser, first.concentrator_id.hex()) == (None, 0, "f000000000000001")
