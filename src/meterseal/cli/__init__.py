"""The command line: reads arguments, the clock and the environment, and prints. Every command has `--json`.

It decides nothing: commands (menu) call the kit, the app, or a codec.

Exit status: 0 good, 1 the answer is no (one sentence says what, why, what to do), 2 wrong use.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from inspect import cleandoc, isfunction
from typing import NoReturn

from cyclopts import CycloptsError

from meterseal.cli.menu import app
from meterseal.cli.outlet import Undelivered, delivering
from meterseal.errors import LocalError, MetersealError


def main() -> NoReturn:
    """Entry point of the program `meterseal`."""
    try:
        with delivering():
            status = _run(sys.argv[1:])
    except Undelivered as fault:
        status = 1
        if fault.reason:
            _complain(
                f"The answer could not be written to standard output: {fault.reason}. Give it another place."
            )
    raise SystemExit(status)


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        with _explained(arguments):
            result = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        said = " ".join(str(error).split()) or "The arguments are wrong."
        tried = " ".join(("meterseal", *(error.command_chain or ()), "--help"))
        report(LocalError("use.arguments", f"{said} Try: {tried}"), as_json=as_json)
        return 2
    except MetersealError as error:
        report(error, as_json=as_json)
        return 2 if error.code.startswith("use.") else 1
    except OSError as error:
        said = f"{error.filename or 'The system'} cannot be used: {error.strerror}. Mend it and try again."
        report(LocalError("use.file", said), as_json=as_json)
        return 2
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _explained(arguments: list[str]) -> Iterator[None]:
    """While the body runs, the help of a command is all that its function says, and not its line in the menu alone."""
    asked = app.parse_commands(arguments)[1] if {"--help", "-h"} & set(arguments) else ()
    with contextlib.ExitStack() as after:
        for one in asked:
            if isfunction(one.default_command) and one.default_command.__doc__:
                after.callback(setattr, one, "help", one.help)
                one.help = cleandoc(one.default_command.__doc__).partition("\n\nParameters\n")[0]
        yield


def report(error: MetersealError, *, as_json: bool) -> None:
    """One clear sentence on standard error, or one JSON object on standard output."""
    if as_json:
        import json

        sys.stdout.write(json.dumps({"error": {"code": error.code, "message": error.message}}) + "\n")
    else:
        _complain(error.message)


def _complain(sentence: str) -> None:
    """One sentence on standard error, where there is one."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"meterseal: {sentence}\n")
        sys.stderr.flush()
