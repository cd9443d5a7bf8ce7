"""Beside the path: the program of a street's meters, with their modules, on buses that a concentrator polls
over TCP.

It reads no register log and knows no platform: what leaves it are the bytes of the meter protocols and of
the link. The log of true registers is written from the profiles and read back by nobody here.

    python -m meterseal.kit.street --config FILE      stands alone, until SIGTERM
    python -m meterseal.kit.street                    as a child: one line of JSON on standard input
    (app.child)

The configuration is one JSON object with the fields of `StreetConfig`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from meterseal.app import child
from meterseal.app.config import replace_file
from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.firmware import Firmware, Pace
from meterseal.edge.gas import GasMeter
from meterseal.edge.heat import HeatMeter
from meterseal.edge.memories import Memories
from meterseal.edge.meter import Meter
from meterseal.edge.node import Node, Secured
from meterseal.edge.water import WaterMeter
from meterseal.errors import LocalError
from meterseal.kit.bus import Bus, BusServer
from meterseal.kit.life import design_of, lived
from meterseal.kit.plan import MeterPlan, StreetPlan
from meterseal.kit.profiles import DAY, HOUR, MILLIONTHS
from meterseal.kit.replay import CapturedBus, load_captured
from meterseal.model import Medium
from meterseal.wire.profile import profiles

METERS: dict[Medium, type[Meter]] = {
    "water": WaterMeter,
    "gas": GasMeter,
    "heat": HeatMeter,
    "electricity": ElectricityMeter,
}
STATUS_EVERY = 0.5
"""Seconds between two lines of progress."""
PORTS = "buses.json"
"""Where an older version kept the ports of the buses, in clear."""
BUSES = "ports 1"


class StreetConfig(Struct, kw_only=True):
    """What the program is told.

    `dir` holds the modules' memory and the chosen ports. `plan` is a file with a `StreetPlan` (JSON);
    without one there are no meters of a street. `ports` has one port for each riser (0 or missing: chosen
    once and kept in `dir`). `registers` is where the true registers go (CSV; "" for nowhere),
    `usage_points` maps device ids (hex) to usage points for that file. `record` is where the last
    `record_count` messages of sealed meters are kept. `captured` is a file of captured answers, which
    become one more riser of plain meters. `skip_modules` are device ids (hex) that stay off.
    """

    dir: str
    plan: str = ""
    host: str = "127.0.0.1"
    ports: list[int] = field(default_factory=list)
    registers: str = ""
    usage_points: dict[str, str] = field(default_factory=dict)
    record: str = ""
    record_count: int = 256
    captured: str = ""
    skip_modules: list[str] = field(default_factory=list)
    timing: Timing = Timing()
    firmware: Pace = Pace(trial=300_000)
    verbose: bool = False


class Street:
    """All meters of a plan, powered on."""

    def __init__(self, config: StreetConfig, clock: Callable[[], int]) -> None:
        self.config = config
        self.plan = load_plan(Path(config.plan)) if config.plan else None
        self.memories = Memories(Path(config.dir))
        self.recorded: deque[tuple[bytes, bytes]] = deque(
            _recorded(config.record), maxlen=config.record_count
        )
        self.secured: list[Secured] = []
        self.buses: list[Bus | CapturedBus] = []
        skipped = {bytes.fromhex(one) for one in config.skip_modules}
        self.models = self.plan.models() if self.plan is not None else profiles()
        if self.plan is not None:
            nodes: list[dict[bytes, Node]] = [{} for _ in range(self.plan.risers)]
            jitter = random.Random().random
            for meter in self.plan.meters:
                if meter.device_id not in skipped:
                    nodes[meter.riser][meter.device_id] = self._node(self.plan, meter, jitter)
            self.buses += [Bus(list(riser.values()), self._record) for riser in nodes]
        if config.captured:
            self.buses.append(CapturedBus(load_captured(Path(config.captured))))
        self.clock = clock

    def _node(self, plan: StreetPlan, planned: MeterPlan, jitter: Callable[[], float]) -> Node:
        meter = METERS[planned.medium](
            planned.device_id,
            state=lived(plan, planned),
            design=design_of(planned),
            profile=self.models[planned.model] if planned.model else None,
        )
        if planned.plain:
            meter.clear_writes = True  # nothing else guards it
            return Node(meter)
        chip = self.memories.chip(planned.module_id, planned.device_id)
        pages = self.memories.controller(planned.device_id)
        outbox = DailyOutbox(meter, chip, pages)
        firmware = Firmware(chip, pages, model=meter.profile.name, pace=self.config.firmware)
        agent = LinkAgent(chip, outbox, self.config.timing, jitter)
        secured = Secured(chip, agent, outbox, firmware)
        self.secured.append(secured)
        return Node(meter, secured)

    def _record(self, device_id: bytes, message: bytes) -> None:
        self.recorded.append((device_id, message))

    def progress(self) -> dict[str, int]:
        """Counts for whoever watches: days delivered and acknowledged of all days, handshakes, refused
        messages; without a plan, how many captured answers were given.
        """
        if self.plan is None:
            return {"served": sum(bus.served for bus in self.buses if isinstance(bus, CapturedBus))}
        since, days = self.plan.since, (self.plan.until - self.plan.since) // DAY
        return {
            "meters": len(self.secured),
            "days": sum((one.outbox.through - since) // DAY for one in self.secured),
            "of": days * len(self.secured),
            "handshakes": sum(one.agent.handshakes for one in self.secured),
            "waiting": sum(one.agent.waiting() for one in self.secured),
            "refused": sum(one.agent.refused for one in self.secured),
        }

    def write_recorded(self, path: Path) -> None:
        """The last messages as lines of JSON: device_id and message in hex, oldest first."""
        lines = [json.dumps({"device_id": one.hex(), "message": what.hex()}) for one, what in self.recorded]
        replace_file(path, "".join(line + "\n" for line in lines).encode())


def _recorded(path: str) -> list[tuple[bytes, bytes]]:
    """What an earlier run of this program recorded: a restart goes on with the same file."""
    if not path or not Path(path).exists():
        return []
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [(bytes.fromhex(one["device_id"]), bytes.fromhex(one["message"])) for one in lines]


def load_plan(path: Path) -> StreetPlan:
    """Read a plan. LocalError `kit.plan` when the file is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StreetPlan)
    except (OSError, msgspec.MsgspecError) as error:
        raise LocalError("kit.plan", f"{path} holds no plan of a street ({error}); make one first.") from None


def write_registers(plan: StreetPlan, usage_points: dict[str, str], path: Path) -> int:
    """The true registers as CSV: meter, usage_point, medium, end_at_ms, register, used, hourly over the window; how many.

    `used` is what was used since the window began, in hundredths, whether it passed the meter or not.
    """
    rows = ["meter,usage_point,medium,end_at_ms,register,used"]
    for meter in plan.meters:
        registers = plan.registers(meter)
        name = meter.device_id.hex()
        head = f"{name},{usage_points.get(name, '')},{meter.medium},"
        hours = range(plan.since, plan.until + 1, HOUR)
        rows += [
            f"{head}{end_at},{register},{used // MILLIONTHS}"
            for end_at, register, used in zip(hours, registers.values, registers.used, strict=False)
        ]
    replace_file(path, ("\n".join(rows) + "\n").encode())
    return len(rows) - 1


async def serve(config: StreetConfig, stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """Serve the buses until `stop`; `ready` hears the ports, then lines of progress go to standard output."""
    street = Street(config, lambda: time.time_ns() // 1_000_000)
    if config.registers and street.plan is not None:
        write_registers(street.plan, config.usage_points, Path(config.registers))
    servers = [BusServer(bus, street.clock) for bus in street.buses]
    kept = Path(config.dir) / PORTS
    sealed = street.memories.page(b"buses")
    wanted = _ports(config, sealed.read(BUSES), kept, len(servers))
    try:
        ports = [await server.start(config.host, port) for server, port in zip(servers, wanted, strict=True)]
        sealed.write({BUSES: json.dumps(ports).encode()}, settled=True)
        kept.unlink(missing_ok=True)
        ready(ports=ports, meters=len(street.plan.meters) if street.plan else 0)
        last: dict[str, int] = {}
        while not stop.is_set():
            waiter = asyncio.create_task(stop.wait())
            await asyncio.wait([waiter], timeout=STATUS_EVERY)
            waiter.cancel()
            progress = street.progress()
            if progress != last:
                last = progress
                child.say(progress=progress)
                if config.record:
                    street.write_recorded(Path(config.record))
    finally:
        for server in servers:
            await server.stop()
        street.memories.close()


def _ports(config: StreetConfig, sealed: bytes | None, older: Path, count: int) -> list[int]:
    """The configured ports, else those of the last run, else 0 for any."""
    ports = list(config.ports)
    if not ports and (sealed or older.exists()):
        ports = [int(port) for port in json.loads(sealed or older.read_bytes())]
    return [*ports, *([0] * count)][:count]


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """The child process: orders are the fields of `StreetConfig`."""
    try:
        config = msgspec.convert(orders, StreetConfig)
    except msgspec.ValidationError as error:
        raise LocalError("kit.config", f"The configuration of the street is wrong: {error}.") from None
    await serve(config, stop, ready)


if __name__ == "__main__":
    from meterseal.kit.programs import run

    sys.exit(run("street", main))
