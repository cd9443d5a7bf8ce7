"""Fuzz target of the station wire: any bytes and any text are answered, and only PeerErrors come out.

    python tests/fuzz/fuzz_wire.py -atheris_runs=30000 tests/fuzz/seeds/wire

Without a corpus on the command line the seeds beside this file are read and new inputs are kept nowhere.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Literal

SEEDS = Path(__file__).parent / "seeds" / "wire"


def one_input(fuzzed: bytes) -> None:
    """Drive every parser of the station with one input."""
    from meterseal.errors import PeerError
    from meterseal.wire.codec import Reader
    from meterseal.wire.decode import decode, decode_bytes
    from meterseal.wire.frame import parse_frames
    from meterseal.wire.meaning import interpret
    from meterseal.wire.tree import tree

    decoded = decode_bytes(fuzzed)
    json.dumps(decoded.answer)
    tree(decoded)
    if decoded.found.frame is not None:
        assert decoded.found.frame.encode() in fuzzed
    decode(fuzzed.decode("utf-8", "replace"))
    with contextlib.suppress(PeerError):
        for frame in parse_frames(fuzzed):
            interpret(frame)
    reader = Reader()
    for start in range(0, len(fuzzed), 16):
        reader.feed(fuzzed[start : start + 16])
        while (frame_read := reader.next_frame()) is not None:
            interpret(frame_read)
    mended = bytearray(fuzzed[:200])
    if len(mended) > 12:
        protocol = _mend(mended)
        interpret(parse_frames(bytes(mended), protocol)[0])


def _mend(raw: bytearray) -> Literal["cjt188", "dlt645"]:
    """Make a frame of the input, so that the layouts behind the checksum are reached; says its protocol."""
    household = raw[0] % 2 == 0
    raw[0] = 0x68
    if household:
        raw[10] = len(raw) - 13
    else:
        raw[7], raw[9] = 0x68, len(raw) - 12
    raw[-2], raw[-1] = sum(raw[:-2]) % 256, 0x16
    return "cjt188" if household else "dlt645"


def main() -> None:
    """Run under atheris with the arguments given; the seeds are the corpus where none is named."""
    import atheris

    with atheris.instrument_imports():
        import meterseal.wire.decode
        import meterseal.wire.tree  # noqa: F401
    arguments = list(sys.argv)
    if all(argument.startswith("-") for argument in arguments[1:]):
        import tempfile

        arguments += [tempfile.mkdtemp(prefix="fuzz-wire-"), str(SEEDS)]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
