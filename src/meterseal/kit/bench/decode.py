"""Beside the path: frames decoded from text to the object that `meterseal decode --json` prints.

It needs the vectors of the repository, which no installed package carries. The bound is the same text made bytes and
its frames summed, which no decoder can leave out.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import msgspec

from meterseal.errors import LocalError
from meterseal.kit.bench.timing import Case, Limit, Primitive, Watch
from meterseal.wire import decode
from meterseal.wire.frame import parse_frame

VECTORS = Path(__file__).parents[4] / "tests" / "vectors" / "frames.jsonl"
UNIT = "frames per CPU second"


def frames() -> list[str]:
    """The hex texts of the vectors that hold a whole frame; LocalError `use.vectors` outside the repository."""
    try:
        lines = VECTORS.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise LocalError(
            "use.vectors",
            "The vectors tests/vectors/frames.jsonl are not here; run this benchmark from the repository.",
        ) from None
    texts = [json.loads(line)["hex"] for line in lines]
    return [text for text in texts if decode.decode(text).valid]


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows."""
    texts = frames()
    found = [decode.decode(text).found.frame for text in texts]
    whole = [frame.encode() for frame in found if frame is not None]

    def answered(watch: Watch) -> int:
        with watch:
            for text in texts:
                decode.decode(text)
        return len(texts)

    def printed(watch: Watch) -> int:
        with watch:
            for text in texts:
                msgspec.json.encode(decode.decode(text).answer)
        return len(texts)

    def taken_apart(watch: Watch) -> int:
        with watch:
            for one in whole:
                parse_frame(one)
        return len(whole)

    limit = Limit("text to bytes and their sum", ((1, _summed(texts)),), units=len(texts))
    return [
        Case(name="decode, text to answer", unit=UNIT, work=answered, limit=limit),
        Case(name="decode, text to JSON", unit=UNIT, work=printed, limit=limit),
        Case(name="frame taken apart, bytes to fields", unit=UNIT, work=taken_apart, limit=limit),
    ]


def _summed(texts: list[str]) -> Primitive:
    """All texts once for each time."""
    digits = ["".join(text.split()) for text in texts]

    def run(times: int) -> None:
        for _ in range(times):
            for text in digits:
                sum(bytes.fromhex(text)) & 0xFF

    return Primitive("text to bytes and their sum", run)
