"""`python -m meterseal.app.process NAME`: the entry of each process; imports only what that process needs.

It holds no logic; `child` runs it, `keys`, `headend`, `platform` and `web` are the processes.
"""

from __future__ import annotations

import gc
import importlib
import sys

from meterseal.app.child import run

PROCESSES = ("keys", "headend", "platform", "web")


def main(name: str) -> int:
    """Run the process `name`; 2 when there is none of that name."""
    if name not in PROCESSES:
        return 2
    gc.disable()  # what is imported stays: looking for garbage in it took a tenth of the start
    module = importlib.import_module(f"meterseal.app.{name}")
    gc.freeze()
    gc.enable()
    return run(name, module.main)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
