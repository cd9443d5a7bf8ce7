"""A sign of life on standard error while a command waits: for what, since when, and how far it is where that is known.

It prints nothing where standard error is no terminal, and takes back what it printed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Show `what` and the time it takes until the body ends; what is given to the function stands behind it."""
    if not what or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    whole = Column(no_wrap=True, min_width=7)
    columns = (TimeElapsedColumn(table_column=whole), TextColumn("{task.description}", markup=False))
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda far: progress.update(task, description=f"{what}: {far}")
