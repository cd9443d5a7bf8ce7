"""`python -m meterseal.app.process NAME`: the entry of each process; imports only what that process needs.

It holds no logic; `child` runs it, `keys`, `headend`, `platform` and `web` are the processes.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROCESSES = ("keys", "headend", "platform", "web")


def main(name: str) -> int:
    """Run the process `name`; 2 when there is none of that name."""
    if name not in PROCESSES:
        return 2
    gc.disable()  # what is imported stays: looking for garbage in it took a tenth of the start
    with _no_colours():
        child = importlib.import_module("meterseal.app.child")
    module = importlib.import_module(f"meterseal.app.{name}")
    gc.freeze()
    gc.enable()
    return int(child.run(name, module.main))


@contextmanager
def _no_colours() -> Iterator[None]:
    """While the body imports structlog there is no rich, which it would load for consoles: up to a fifth of the start.

    Our processes write their log as JSON (`child.configure_logging`).
    """
    if "rich" in sys.modules:  # then hiding it spares nothing
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # so Python says of a module that it is not there
    try:
        yield
    finally:
        del sys.modules["rich"]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
