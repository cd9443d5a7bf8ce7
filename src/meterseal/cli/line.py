"""`meterseal line`: look into a line between a bus master and its meters, hold it, bend it, keep it.

It starts the view; what passes is the kit's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterseal.errors import LocalError
from meterseal.hostport import parted, written

if TYPE_CHECKING:
    from meterseal.kit.line.entries import Entry
    from meterseal.kit.line.overhear import Overhearer
    from meterseal.kit.line.screen import LineView
    from meterseal.kit.line.tap import Tap


def line(
    meters: str = "",
    *,
    listen: str = "127.0.0.1:0",
    session: Path | None = None,
    keys: Path | None = None,
    plain: bool = False,
) -> int:
    """Show a line live: every request beside its reply, byte by byte.

    Without METERS and without --session four simulated meters and a bus master of its own are shown. Faults, held and
    edited messages are for devices of your own.

    Parameters
    ----------
    meters
        Where the meters are: `tcp:HOST:PORT` or `serial:/dev/ttyUSB0:2400:E`. Point your bus master at --listen.
    listen
        HOST:PORT where the bus master connects; port 0 takes a free one and shows it.
    session
        Look at a session that was saved before, and at nothing else.
    keys
        A file of keys to open sealed messages with (or name it in METERSEAL_LINE_KEYS): lines `bound DEVICE_ID KEY`
        or `session SESSION_ID KEYS`, in hex.
    plain
        Print the timeline as lines instead of a screen, until Ctrl-C.
    """
    from meterseal.kit.line.entries import load
    from meterseal.kit.line.overhear import Keys, Overhearer

    if session is not None and meters:
        sys.stderr.write("meterseal: a session and a line were both given; give one of them.\n")
        return 2
    overhearer = Overhearer(Keys.read(keys))
    if session is None:
        return _live(meters, *_address(listen), overhearer, plain=plain)
    entries = load(session)
    if not plain:
        return _shown(_view()(None, overhearer, entries=entries, where=str(session)))
    lines = _Lines(overhearer)
    for entry in entries:
        lines.take(entry)
    return 0


def _address(listen: str) -> tuple[str, int]:
    found = parted(listen)
    if found is None:
        raise LocalError(
            "use.listen", f"{listen!r} is no address to listen on: give HOST:PORT, an IPv6 host in brackets."
        )
    return found


def _live(meters: str, host: str, port: int, overhearer: Overhearer, *, plain: bool) -> int:
    from meterseal.edge.place import Place
    from meterseal.kit.line.tap import Tap

    place = Place(meters) if meters else None
    if plain:
        lines = _Lines(overhearer)
        tap = Tap(place, _now, lines.take)
        try:
            asyncio.run(
                _work(tap, host, port, lambda at: sys.stderr.write(f"Bus master: {written(host, at)}\n"))
            )
        except KeyboardInterrupt:
            return 0
    tap = Tap(place, _now)
    view = _view()(tap, overhearer, where=meters or "four simulated meters")
    tap.changed = view.take
    view.work = lambda: _work(tap, host, port, lambda at: view.listening(written(host, at)))
    return _shown(view)


async def _work(tap: Tap, host: str, port: int, listening: Callable[[int], Any]) -> None:
    from meterseal.kit.line.rehearsal import Rehearsal

    at = await tap.listen(host, port)
    listening(at)
    works: list[Coroutine[Any, Any, None]] = [tap.run()]
    if tap.place is None:
        rehearsal = Rehearsal(_now)
        await rehearsal.start(tap)
        works.append(rehearsal.ask(at))
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _view() -> type[LineView]:
    try:
        from meterseal.kit.line.screen import LineView
    except ImportError:
        raise LocalError(
            "line.screen",
            "The screen needs a package more; in meterseal's directory: .venv/bin/pip install -e '.[lab]'. Or use "
            "--plain.",
        ) from None
    return LineView


def _shown(view: LineView) -> int:
    view.run()
    return view.return_code or 0


class _Lines:
    """The timeline as lines, each unit once."""

    def __init__(self, overhearer: Overhearer) -> None:
        self._overhearer = overhearer
        self._seen = self._begun = 0

    def take(self, entry: Entry) -> None:
        """Print it if it is new."""
        from meterseal.kit.line.words import line_of

        if entry.number > self._seen:
            self._seen = entry.number
            self._begun = self._begun or entry.at
            sys.stdout.write(line_of(entry, self._begun, self._overhearer) + "\n")
            sys.stdout.flush()
