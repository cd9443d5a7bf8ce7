"""Fuzz target: what a slave makes of a request, what a master makes of pieces, and frames as columns beside one alone.

    python tests/fuzz/fuzz_roles.py -atheris_runs=30000

The first byte of an input chooses the protocol and the edition; the rest is the data field of a frame, or, for columns,
several frames behind their lengths. Only PeerErrors and LocalErrors come out, and an ask makes its own request again.
The seeds in seeds/roles are read unless a corpus is named.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds" / "roles"


def one_input(fuzzed: bytes) -> None:
    """Drive the parsers of both roles, or the columns, with one input."""
    if len(fuzzed) < 3:
        return
    if fuzzed[0] % 4 == 3:
        _columns(fuzzed[1:])
    else:
        _roles(fuzzed[0] % 4, fuzzed[1], fuzzed[2:250])


def _roles(which: int, control: int, data: bytes) -> None:
    from msgspec.structs import replace

    from meterseal.errors import LocalError, PeerError
    from meterseal.wire import roles
    from meterseal.wire.frame import Frame
    from meterseal.wire.meaning import interpret
    from meterseal.wire.profile import profiles

    profile = profiles()[("electricity-generic", "electricity-1997", "water-generic")[which]]
    frame = (
        Frame("cjt188", 0x10, b"\x01\0\0\0\0\x33\x78", control, data)
        if which == 2
        else Frame("dlt645", 0, b"\x61\x01\0\0\0\0", control, data)
    )
    interpret(frame)
    with contextlib.suppress(PeerError, LocalError):
        ask = roles.ask_of(frame, profile)
        if which != 2:
            assert roles.request(frame.device_id, ask, profile) == frame, data.hex()
    stated = roles.stated(frame, profile)
    asked = replace(frame, control=control & 0x1F)
    with contextlib.suppress(PeerError, LocalError):
        made = roles.answer(frame.device_id, asked, stated, profile)
        roles.matches(asked, made, profile)
    roles.matches(asked, frame, profile)
    with contextlib.suppress(PeerError):
        roles.joined([frame, replace(frame, data=data[::-1])])


def _columns(fuzzed: bytes) -> None:
    from meterseal.wire import columns
    from meterseal.wire.columns import Why

    frames: list[bytes] = []
    while fuzzed and len(frames) < 12:
        size = fuzzed[0]
        frames.append(_mended(fuzzed[1 : 1 + size]))
        fuzzed = fuzzed[1 + size :]
    stacked = columns.stack(frames)
    for found, one in (
        (
            columns.registers(stacked, columns.VOLUME),
            lambda raw: columns.one_register_answer(raw, columns.VOLUME),
        ),
        (
            columns.registers(stacked, columns.HEAT),
            lambda raw: columns.one_register_answer(raw, columns.HEAT),
        ),
        (columns.energies(stacked), columns.one_energy),
        (columns.intervals(stacked, "cjt188"), lambda raw: columns.one_interval_block(raw, "cjt188")),
        (columns.intervals(stacked, "dlt645"), lambda raw: columns.one_interval_block(raw, "dlt645")),
    ):
        for row, raw in enumerate(frames):
            alone = one(raw)
            why = alone if isinstance(alone, Why) else Why.OK
            assert Why(found.why[row]) == why, raw.hex()
            if not isinstance(alone, Why):
                assert int(found.device[row]) == int.from_bytes(alone.device_id, "big"), raw.hex()


def _mended(raw: bytes) -> bytes:
    """Every other frame gets a right length and checksum, so that what it carries is judged."""
    if len(raw) < 16 or raw[-1] % 2:
        return raw
    mended = bytearray(raw)
    mended[0] = 0x68
    if mended[7] == 0x68:
        mended[9] = len(raw) - 12
    else:
        mended[10] = len(raw) - 13
    mended[-2], mended[-1] = sum(mended[:-2]) % 256, 0x16
    return bytes(mended)


def main() -> None:
    """Run under atheris with the arguments given; the seeds are the corpus where none is named."""
    import atheris

    with atheris.instrument_imports():
        import meterseal.wire.columns
        import meterseal.wire.roles  # noqa: F401
    arguments = list(sys.argv)
    if all(argument.startswith("-") for argument in arguments[1:]):
        import tempfile

        arguments += [tempfile.mkdtemp(prefix="fuzz-roles-"), str(SEEDS)]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
