"""A listener with and without keys, on what really passes between a meter's module and the platform, in segments."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.crypto.expose import expose
from meterseal.errors import LocalError
from meterseal.kit.line.overhear import VARIABLE, Keys, Overhearer
from meterseal.wire import encode
from tests.edge.field import Field

TWO, ONE = bytes.fromhex("1078330011223302"), bytes.fromhex("1078330011223301")


def passed(device: bytes) -> tuple[Field, list[str], Overhearer]:
    """What a listener without keys says of a whole first day of a meter."""
    field = Field([[device]], days=1)
    heard: list[str] = []
    ear = Overhearer(Keys())
    _listen(field, ear, heard)
    field.run(3_000)
    return field, heard, ear


def _listen(field: Field, ear: Overhearer, heard: list[str]) -> None:
    bus = field.buses[0]
    answer = bus.answer

    def both(request: object, now: int) -> bytes:
        said = answer(request, now)  # type: ignore[arg-type]
        for raw in (request.encode(), said):  # type: ignore[attr-defined]
            if raw:
                from meterseal.wire.codec import search

                frame = search(raw).frame
                assert frame is not None
                if text := ear.hear(frame):
                    heard.append(text)
        return said

    bus.answer = both  # type: ignore[method-assign]


def test_without_keys_names_and_numbers_are_told_and_nothing_is_opened() -> None:
    _, heard, _ = passed(ONE)
    assert heard[0].startswith("HELLO: suite 1, device 1078330011223301")
    assert heard[1].startswith("PLATFORM: suite 1")
    assert any(text.startswith("record up: session") for text in heard)
    assert not any("tag holds" in text or "cumulative_volume" in text for text in heard)


def test_with_the_bound_key_a_session_of_suite_2_opens_from_its_hello_on() -> None:
    field = Field([[ONE, TWO]], days=1)  # the second is of suite 2
    heard: list[str] = []
    keys = Keys()
    keys.bound[TWO] = field.platform.enrolled_modules[TWO].bound
    _listen(field, Overhearer(keys), heard)
    field.run(3_000)
    assert any("fin_p holds" in text for text in heard)
    assert any("its records open from now on" in text for text in heard)
    assert any("tag holds" in text and "read data" in text for text in heard)
    assert any("control ACK" in text for text in heard)
    raw = expose(keys.bound[TWO]).hex()
    assert not any(raw in text for text in heard)


def test_another_key_is_said_to_be_another() -> None:
    field = Field([[ONE, TWO]], days=1)
    heard: list[str] = []
    keys = Keys()
    keys.bound[TWO] = field.platform.enrolled_modules[ONE].bound
    _listen(field, Overhearer(keys), heard)
    field.run(3_000)
    assert any("fin_p does not hold" in text for text in heard)
    assert not any("tag holds\n" in text for text in heard)


def test_what_is_no_link_message_is_said() -> None:
    ear = Overhearer(Keys())
    frame = encode.segment_read_answer(ONE, encode.segment_read_request(ONE, 0), 4, 0, b"junk")
    assert "no link message" in ear.hear(frame)
    odd = encode.segment_read_answer(ONE, encode.segment_read_request(ONE, 8), 40, 8, b"junk")
    assert "segment refused" in ear.hear(odd)


def test_keys_are_read_from_a_file_and_from_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# mine\nbound {TWO.hex()} {'01' * 16}\n\nsession {'02' * 8} {'03' * 128} # today\n")
    assert len(Keys.read(file)) == 2
    assert len(Keys.read(None)) == 0
    monkeypatch.setenv(VARIABLE, str(file))
    assert len(Keys.read(None)) == 2
    assert "0101" not in repr(Keys.read(None).bound)


@pytest.mark.parametrize(
    "line",
    [
        "bound",
        "bound 01 02",
        f"bound {'01' * 8} {'02' * 15}",
        f"session {'01' * 8} {'02' * 16}",
        f"other {'01' * 8} {'02' * 16}",
        "bound xx yy",
    ],
    ids=range(6),
)
def test_a_line_that_is_no_key_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "keys").write_text(f"\n{line}\n")
    with pytest.raises(LocalError, match="line 2") as error:
        Keys.read(tmp_path / "keys")
    assert "0202" not in error.value.message
    with pytest.raises(LocalError, match="cannot be read"):
        Keys.read(tmp_path / "nowhere")
