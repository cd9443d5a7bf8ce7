"""Fuzz target of the meter models: any bytes as a request, on a bus, as a capture, as a profile; known errors only.

    python tests/fuzz/fuzz_models.py -atheris_runs=30000 tests/fuzz/seeds/models

Without a corpus on the command line the seeds beside this file are read and new inputs are kept nowhere.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds" / "models"


def one_input(fuzzed: bytes) -> None:
    """The first byte chooses the model and what the rest is taken for."""
    from meterseal.errors import DataError
    from meterseal.wire.bus_search import BusSearch
    from meterseal.wire.draft import draft
    from meterseal.wire.profile import parse_profile, profiles

    choice, rest = (fuzzed[0], fuzzed[1:]) if fuzzed else (0, b"")
    models = sorted(profiles().values(), key=lambda profile: profile.name)
    match choice % 4:
        case 0:
            _request(rest, models[choice // 4 % len(models)])
        case 1:
            search = BusSearch("cjt188" if choice & 4 else "dlt645", narrowing=bool(choice & 8), most=30)
            for start in range(0, len(rest), 24):
                if search.step() is not None:
                    search.heard(rest[start : start + 24])
        case 2:
            with contextlib.suppress(DataError):
                parse_profile(draft(rest.decode("utf-8", "replace").splitlines()[:12]).text)
        case 3:
            with contextlib.suppress(DataError):
                parse_profile(rest.decode("utf-8", "replace"))


def _request(rest: bytes, profile: object) -> None:
    """A request is carried out as asked, and its Ask makes it again; or a PeerError says why not."""
    from meterseal.errors import PeerError
    from meterseal.wire import roles
    from meterseal.wire.frame import Frame
    from meterseal.wire.meaning import interpret
    from meterseal.wire.profile import Profile

    assert isinstance(profile, Profile)
    size = 7 if profile.protocol == "cjt188" else 6
    frame = Frame(
        profile.protocol, 0x10 if size == 7 else 0, bytes(size), rest[0] if rest else 1, rest[1:200]
    )
    try:
        ask = roles.ask_of(frame, profile)
    except PeerError:
        if not frame.control & 0x80:
            assert interpret(roles.refuse(frame.device_id, frame, "other", profile)).error
        return
    assert profile.protocol == "dlt645" or roles.request(frame.device_id, ask, profile) == frame


def main() -> None:
    """Run under atheris with the arguments given; the seeds are the corpus where none is named."""
    import atheris

    with atheris.instrument_imports():
        import meterseal.wire.bus_search
        import meterseal.wire.draft
        import meterseal.wire.roles  # noqa: F401
    arguments = list(sys.argv)
    if all(argument.startswith("-") for argument in arguments[1:]):
        import tempfile

        arguments += [tempfile.mkdtemp(prefix="fuzz-models-"), str(SEEDS)]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
