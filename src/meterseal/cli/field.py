"""`meterseal demo` and `meterseal simulate`: play a street, on a system of its own or on a running one.

They show progress and results; what is played is the kit's.
"""

from __future__ import annotations

import asyncio
import json as json_module
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec

from meterseal.cli.arguments import Json, between
from meterseal.cli.signals import unless
from meterseal.cli.times import day
from meterseal.errors import LocalError

STEPS = {
    "start": "starting security service, platform, head-end and portal",
    "enrol": "enrolling the street: modules, keys, certificates, agreements",
    "deliver": "meters deliver their days through the concentrator",
    "bill": "validating, billing, and adding the bills up a second way",
    "attack": "three attacks",
}


def demo(
    *,
    exit: bool = False,
    json: Json = False,
    dwellings: Annotated[int, between(1, 10_000)] = 60,
    days: Annotated[int, between(1, 3_660)] = 40,
    until: str = "",
    seed: Annotated[int, between(0, 2**63 - 1)] = 188,
    data: Path | None = None,
) -> int:
    """Play a street from meter to bill, then three refused attacks.

    Parameters
    ----------
    exit
        End once everything is shown, instead of keeping the portal up.
    json
        Print one JSON object.
    dwellings
        How many dwellings, with four meters each.
    days
        Days of use; 35 are the fewest that hold a whole billing month.
    until
        The local day at whose beginning the days end, YYYY-MM-DD; today by default.
    seed
        The street: the same seed and day give the same readings and bills.
    data
        Keep the data here; by default a temporary directory that is removed at the end. A street that was played here
        before is taken up as it is.
    """
    if data is not None:
        return asyncio.run(_demo(data, dwellings, days, until, seed, leave=exit, as_json=json))
    with tempfile.TemporaryDirectory(prefix="meterseal-") as folder:
        return asyncio.run(
            _demo(Path(folder) / "demo", dwellings, days, until, seed, leave=exit, as_json=json)
        )


async def _demo(
    data: Path, dwellings: int, days: int, until: str, seed: int, *, leave: bool, as_json: bool
) -> int:
    from meterseal.kit.demo import Demo, Wish

    stop = _stop_on_signals()
    screen = Screen()
    wish = Wish(data=data, dwellings=dwellings, days=days, until=day(until) if until else 0, seed=seed)
    play = Demo(wish, screen.tell)
    try:
        with screen:
            played = await unless(stop, play.play())
        if played is None:
            return 130
        good = played.refused == len(played.attacks) and played.total_fen == played.recalculated_fen
        if as_json:
            print(json_module.dumps(msgspec.to_builtins(played), ensure_ascii=False))
            sys.stdout.flush()
        else:
            print(_shown(played, links=not leave))
        if not leave:
            print("\nCtrl-C ends the demo." if not as_json else "", flush=True)
            assert play.system is not None
            await play.system.supervisor.until(stop)
        return 0 if good else 1
    finally:
        await play.stop()


def _shown(played: Any, *, links: bool) -> str:
    equal = "equal" if played.total_fen == played.recalculated_fen else "NOT EQUAL"
    lines = [
        "",
        f"{played.meters} meters, {played.handshakes} handshakes, {played.records} sealed records, "
        f"{played.readings} readings, {played.evidence} signed freezes verified",
        f"{played.bills} bills over {played.total_fen / 100:.2f} CNY; a separate calculation from the meters' own "
        f"registers says {played.recalculated_fen / 100:.2f}: {equal}",
        f"{played.seconds:.0f} s, {played.rss_mb:.0f} MB in all processes",
        "",
    ]
    for outcome in played.attacks:
        lines.append(f"tried     {outcome.tried}")
        lines.append(f"{'refused' if outcome.refused else 'NOT REFUSED'}   " + _entry(outcome.entry))
    if links:  # who leaves at once takes the portal away as well
        lines.append("")
        if "resident" in played.urls:
            lines.append(f"a resident, once:  {played.urls['resident']}")
        lines.append(f"an operator, once: {played.urls['operator']}")
    return "\n".join(lines)


def _entry(entry: Any) -> str:
    return f"audit {entry.id} {entry.code}: {entry.sentence}" if entry else "no audit entry was found"


def simulate(
    *,
    data: Path,
    dwellings: Annotated[int, between(1, 10_000)] = 10,
    days: Annotated[int, between(1, 3_660)] = 40,
    until: str = "",
    seed: Annotated[int, between(0, 2**63 - 1)] = 188,
    weather_seed: Annotated[int | None, between(0, 2**63 - 1)] = None,
    models: str = "",
    solar: Annotated[int, between(0, 10_000)] = 0,
    profiles: Path | None = None,
    replay: Path | None = None,
    field: Path | None = None,
    exit: bool = False,
    json: Json = False,
) -> int:
    """Play a street, or captured answers of plain meters, against the running system of a data directory.

    Parameters
    ----------
    data
        Data directory of a running system (`meterseal up`).
    dwellings, days, until, seed
        The street, as for `demo`.
    weather_seed
        Another weather over the same street; by default that of its seed.
    models
        Meter models of the street by name, with commas between them, one of a medium at most (water-201707,heat-25-1111).
    solar
        So many dwellings have panels on the roof, meters that say what was fed in, and a tariff that pays for it.
    profiles
        A directory of meter models of one's own (`device new-profile` starts one); without --models all of them are played.
    replay
        Play these captured answers instead (hex, one a line, or JSON lines with the key `hex`): plain meters behind a
        concentrator that vouches for them.
    field
        Where the field keeps its own state; by default DATA.field (DATA.replay for captured answers).
    exit
        End once everything is delivered and acknowledged.
    json
        Print one JSON object at the end.
    """
    if replay is not None and not replay.exists():
        raise LocalError("kit.captured", f"{replay} does not exist. Name a file of captured answers.")
    street = {
        "dwellings": dwellings,
        "days": days,
        "until": day(until) if until else 0,
        "seed": seed,
        "weather": weather_seed,
        "models": [name for name in models.split(",") if name],
        "own": [],
        "solar": solar,
    }
    if profiles is not None:
        from meterseal.cli.models import own_texts

        texts = own_texts(profiles)
        street["models"] = street["models"] or list(texts)
        street["own"] = list(texts.values())
    return asyncio.run(_simulate(data, street, replay, field, leave=exit, as_json=json))


async def _simulate(
    data: Path,
    street: dict[str, Any],
    replay: Path | None,
    field: Path | None,
    *,
    leave: bool,
    as_json: bool,
) -> int:
    from meterseal.kit.simulate import Simulation

    stop = _stop_on_signals()
    screen = Screen()
    play = Simulation(data, replay, field, screen.tell)
    try:
        with screen:
            delivered = await unless(stop, play.play(**street))
        if delivered is None:
            return 130
        if as_json:
            print(json_module.dumps(msgspec.to_builtins(delivered)), flush=True)
        else:
            for name, value in msgspec.to_builtins(delivered).items():
                print(f"{name:<12} {value}")
        if not leave:
            if not as_json:
                print("\nCtrl-C powers the fleet off.", flush=True)
            await stop.wait()
        return 0
    finally:
        await play.stop()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


class Screen:
    """Progress bars on standard error; silent lines where that is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:<58}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, step: str, share: float) -> None:
        """Show how far a step is; a new step ends the one before."""
        if step not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, completed=1.0)
            if step in STEPS:
                self._tasks[step] = self._progress.add_task(STEPS[step], total=1.0)
                if self._progress.disable:
                    print(STEPS[step], file=sys.stderr, flush=True)
        elif step in self._tasks:
            self._progress.update(self._tasks[step], completed=share)
