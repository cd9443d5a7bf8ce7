"""The plain text: what somebody on a ladder reads."""

from __future__ import annotations

from meterseal.wire.decode import decode
from meterseal.wire.tree import tree

BAD = "FEFEFEFE68104433221100337881161F9000007766552C007766552C3101221105152021840816"


def test_a_reading_at_a_glance() -> None:
    lines = tree(decode(BAD[:-4] + "1316")).splitlines()
    assert lines[0] == "CJ/T 188  valid"
    assert "├─ cold water meter 冷水表 78330011223344" in lines
    assert "├─ cumulative_volume  556677.00 m3" in lines
    assert "├─ valve 阀门 closed, battery 电池 normal" in lines
    row = next(line for line in lines if "控制码" in line)
    assert row.split()[:3] == ["├─", "13", "81"]
    assert row.endswith("answer, read data 读数据")


def test_the_right_checksum_is_told_in_the_head_and_at_its_byte() -> None:
    lines = tree(decode(BAD)).splitlines()
    assert "NOT VALID" in lines[0]
    assert "├─ right checksum 13, found 08" in lines
    assert "WRONG, should be 13" in lines[-2]
    assert "\x1b" not in "".join(lines)
    assert "\x1b" in tree(decode(BAD), colour=True)


def test_a_cut_frame_shows_what_is_there_and_what_is_missing() -> None:
    text = tree(decode(BAD[:50]))
    assert "cumulative_volume" in text
    assert "missing 缺失" in text.splitlines()[-1]


def test_electricity_shows_the_bytes_without_their_offset() -> None:
    text = tree(decode("68610100000000689107333336354558336B16"))
    row = next(line for line in text.splitlines() if "总有功功率" in line and "45 58 33" in line)
    assert row.endswith("12 25 00: 0.2512 kW")
    assert text.splitlines()[0] == "DL/T 645-2007  valid"


def test_text_values_print_without_control_characters() -> None:
    text = tree(decode("FEFEFEFE68111111111111689110A37373337333389636565C516".replace("9110A3", "910A3")))
    assert "\0" not in text
    assert "rated_voltage" in text
