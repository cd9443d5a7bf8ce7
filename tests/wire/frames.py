"""Frames for the tests of the wire: the captured vectors, and makers of frames with a right checksum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "vectors" / "frames.jsonl"
VECTORS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
VALID = [vector for vector in VECTORS if vector["expect"]["valid"]]
BROKEN = [vector for vector in VECTORS if not vector["expect"]["valid"]]

ADDRESS = bytes.fromhex("44332211003378")
"""Wire order of 78330011223344."""


def name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def household(control: int, data: bytes | str, meter_type: int = 0x10, address: bytes = ADDRESS) -> bytes:
    """A CJ/T 188 frame written out by hand, apart from the code under test."""
    data = bytes.fromhex(data) if isinstance(data, str) else data
    body = bytes([0x68, meter_type]) + address + bytes([control, len(data)]) + data
    return body + bytes([sum(body) % 256, 0x16])


def electricity(control: int, data: bytes | str, address: str = "000000000161") -> bytes:
    """A DL/T 645 frame written out by hand; `data` without the 33H offset."""
    data = bytes.fromhex(data) if isinstance(data, str) else data
    lifted = bytes((byte + 0x33) % 256 for byte in data)
    body = b"\x68" + bytes.fromhex(address)[::-1] + bytes([0x68, control, len(data)]) + lifted
    return body + bytes([sum(body) % 256, 0x16])
