"""Process `platform`: fleet, measurements, tariffs, bills and accounts, served to head-end, portal and operator.

It holds no device key and no password; a sealed name is opened for one request of one subject who may see it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from meterseal.app import doctoring, heads, links, listening, restoring
from meterseal.app.bulking import BulkDesk
from meterseal.app.bundling import Bundles
from meterseal.app.clock import now_ms
from meterseal.app.commanding import CommandingDesk
from meterseal.app.comparing import Comparing
from meterseal.app.config import Layout
from meterseal.app.desk import Desk
from meterseal.app.door import socket_path
from meterseal.app.editing import EditingDesk
from meterseal.app.enrolling import EnrolmentDesk
from meterseal.app.exchanging import ExchangeDesk, read_off_meters
from meterseal.app.exporting import ExportDesk
from meterseal.app.firmware import FirmwareDesk
from meterseal.app.forecasting import ForecastDesk
from meterseal.app.judging import JudgingDesk
from meterseal.app.keeping import KeepingDesk
from meterseal.app.ledgering import LedgerDesk
from meterseal.app.measurements import open_measurements
from meterseal.app.querying import QueryDesk
from meterseal.app.reach import Reach
from meterseal.app.resealing import Resealing, newest_wrapping_of
from meterseal.app.retaining import RetentionDesk
from meterseal.app.rowwatch import RowWatch
from meterseal.app.wraps import Wraps, rewrapped_by
from meterseal.bus.local import methods as bus_methods
from meterseal.control import kinds, open_control
from meterseal.control.rings import BILLS, FLEET, MEASUREMENTS, WORDS, open_ring
from meterseal.control.rowtrail import RowTrail
from meterseal.errors import MetersealError
from meterseal.mdms import giving_up
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import Methods, Refused, Rpc, Tally, serve, serve_unix
from meterseal.model import Refusal
from meterseal.people.accounts import Accounts
from meterseal.people.editing import Editing
from meterseal.people.queries import Queries
from meterseal.people.trail import Trail
from meterseal.people.unusual import Unusual
from meterseal.security.sdk import DataKeySource, SecuritySdk
from meterseal.things.admission import Admission
from meterseal.things.anchoring import TrailAnchoring
from meterseal.things.bulk import Bulks
from meterseal.things.clocks import ClockWatch
from meterseal.things.confirming import Confirming
from meterseal.things.firmware import Firmwares, online_key
from meterseal.things.firmware_campaigns import Campaigns
from meterseal.things.firmware_campaigns import ready as has_it_whole
from meterseal.things.firmware_repository import Repository
from meterseal.things.firmware_sending import FirmwareWords
from meterseal.things.fleet import Fleet
from meterseal.things.monitor import AuditLog
from meterseal.things.revoking import Revoking
from meterseal.things.rollout import Rollout
from meterseal.things.sessions import SessionStore
from meterseal.things.witness import Witness
from meterseal.things.words import DownWords
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility

log = structlog.get_logger()
WATCH = 15.0
"""Seconds between looks for modules that were taken out of service."""
UPKEEP = 3600.0
"""Seconds between runs of validation, billing and forecasts; they do nothing when nothing is due."""
STARTED = 60.0
"""Seconds after which a start is over, and what can wait is begun."""


class Parts(NamedTuple):
    """A platform put together: its stations, what it answers the operator, and what it answers other processes."""

    mdms: Mdms
    utility: Utility
    words: DownWords
    rollout: Rollout
    revoking: Revoking
    desk: Desk
    operator: Methods
    methods: Methods
    resealing: Resealing
    wraps: Wraps
    sessions: SessionStore
    witness: Witness
    anchoring: TrailAnchoring
    rows: RowWatch
    bulks: Bulks
    checkpoints: Checkpoints
    firmware: FirmwareWords
    forecasting: ForecastDesk
    retaining: RetentionDesk
    clocks: ClockWatch
    unusual: Unusual
    comparing: Comparing


async def assemble(engine: sa.Engine, measurements: Path, keys: Rpc, clock: Callable[[], int]) -> Parts:
    """The platform over its control store, its directory of measurements and the way to the security service.

    Raises what opening the store of measurements raises. The caller closes `mdms`.
    """
    security = SecuritySdk(keys)
    kinds.check(engine)
    source, now = DataKeySource(security), clock()
    with restoring.opening((measurements.with_name(restoring.RESTORED)).exists()):
        rings = {name: await open_ring(engine, name, source, now) for name in (MEASUREMENTS, FLEET, WORDS)}
    rows = RowTrail.begin(engine, rings[MEASUREMENTS], clock, giving_up.ACT)
    if restored := restoring.settle(measurements.parent, engine, rings[MEASUREMENTS], now):
        log.warning("store.restored", backup=restored.id)
    mdms = await open_measurements(measurements, engine, security, rings[MEASUREMENTS], clock)
    utility = await Utility.start(engine, mdms, source, now)
    mdms.agreements_from(utility.agreed)
    mdms.registers_read_from(partial(read_off_meters, engine, utility.keys))
    resealing = Resealing(
        engine,
        rings | {BILLS: utility.keys},
        mdms,
        utility.customers,
        source,
        partial(newest_wrapping_of, security),
        clock,
    )
    tariffs = sample_tariffs()
    utility.publish_tariffs(tariffs)
    accounts, audit, fleet = Accounts(engine), AuditLog(engine), Fleet(engine, clock)
    sessions = SessionStore(
        engine,
        mdms.consumed,
        clock,
        mdms.rejected,
        partial(rewrapped_by, security),
        security.lease_counters,
    )
    anchoring = TrailAnchoring(audit, security)
    trail = Trail(audit, anchoring, clock)
    watched = RowWatch(engine, rows, security, audit, clock)
    checkpoints = Checkpoints(engine, mdms.ledger, security)
    desk = Desk(
        engine=engine,
        mdms=mdms,
        utility=utility,
        accounts=accounts,
        audit=audit,
        trail=trail,
        anchoring=anchoring,
        rows=watched,
        sessions=sessions,
        fleet=fleet,
        clock=clock,
        resealing=resealing,
        checkpoints=checkpoints,
    )
    enrolling = EnrolmentDesk(
        engine=engine,
        keys=keys,
        mdms=mdms,
        utility=utility,
        accounts=accounts,
        fleet=fleet,
        tariffs=tariffs,
        clock=clock,
        keys_of_fleet=rings[FLEET],
    )
    witness = Witness(engine, security, audit, clock)
    words = DownWords(engine, rings[WORDS], clock)
    watched_clocks = ClockWatch(engine, words, lambda seen: mdms.clocks_seen(seen, clock()), clock)
    words.hears = watched_clocks.heard
    rollout = Rollout(words, security, clock)
    exchanging = ExchangeDesk(
        engine=engine,
        security=security,
        mdms=mdms,
        words=words,
        rings=rings | {BILLS: utility.keys},
        clock=clock,
    )
    bulks = Bulks(engine, rings[WORDS], words, security, clock, partial(has_it_whole, engine))
    repository = Repository(measurements.with_name("firmware"), online_key(engine, rings[WORDS]))
    firmwares = Firmwares(engine, repository, security, clock)
    campaigns = Campaigns(engine, bulks, clock)
    sending = FirmwareWords(words, firmwares, campaigns, audit, clock)
    bulking = BulkDesk(engine, security, bulks, rings[FLEET], clock)
    forecasting = ForecastDesk(mdms.forecasts, mdms.surroundings, fleet, clock)
    commanding = CommandingDesk(engine, security, words, rollout, rings[FLEET], clock)
    editing = Editing(mdms.edits, utility, security, clock)
    queries = Queries(
        engine,
        accounts,
        utility,
        mdms,
        clock,
        rings[FLEET],
        trail,
        mdms.forecasts,
        editing,
        mdms,
        security,
        mdms,
    )
    bundles = Bundles(engine, mdms, utility, checkpoints, security)
    ledgers = LedgerDesk(engine, mdms, checkpoints, anchoring, watched, security, bundles)
    retaining = RetentionDesk(engine, mdms, fleet, rings[MEASUREMENTS], clock)
    methods = (
        links.methods(sessions, fleet, audit, sending, Confirming(words, security, bulks.again).made)
        | bus_methods(Admission(engine, mdms, clock))
        | queries.methods()
        | ledgers.public()
    )
    return Parts(
        mdms,
        utility,
        words,
        rollout,
        Revoking(security, sessions, words),
        desk,
        desk.methods()
        | enrolling.methods()
        | commanding.methods()
        | exchanging.methods()
        | JudgingDesk(mdms, clock).methods()
        | EditingDesk(mdms, editing, fleet).methods()
        | ExportDesk(mdms, fleet).methods()
        | retaining.methods()
        | QueryDesk(engine, mdms, fleet, rings[MEASUREMENTS], clock).methods()
        | KeepingDesk(
            engine, mdms, security, measurements.parent, clock, rings | {BILLS: utility.keys}, watched
        ).methods()
        | ledgers.methods()
        | bulking.methods()
        | FirmwareDesk(firmwares, campaigns, sending, bulking, security, clock).methods()
        | forecasting.methods()
        | heads.methods(witness)
        | doctoring.methods(engine, sessions),
        methods,
        resealing,
        Wraps(engine, sessions, security),
        sessions,
        witness,
        anchoring,
        watched,
        bulks,
        checkpoints,
        sending,
        forecasting,
        retaining,
        watched_clocks,
        queries.unusual,
        ledgers.comparing,
    )


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """Serve until told to end."""
    layout = Layout(Path(orders["data"]))
    reach = Reach("platform", orders)
    watching = asyncio.create_task(reach.watch())
    keys = reach.to("keys", patience=30.0)
    restoring.sweep(layout)
    engine = open_control(layout.control)
    parts = await assemble(engine, layout.measurements, keys, now_ms)
    context, port = reach.listening(), reach.ports["platform"]
    tally = Tally(now_ms)
    server = await serve(parts.methods, host="127.0.0.1", port=port, context=context, tally=tally)
    socket = await serve_unix(parts.operator | listening.methods(orders), socket_path(layout), tally=tally)
    works = [
        asyncio.create_task(tally.report(partial(told, AuditLog(engine)))),
        asyncio.create_task(_upkeep(parts)),
        asyncio.create_task(_look_ahead(parts.unusual)),
        asyncio.create_task(_watch(parts.revoking)),
        asyncio.create_task(parts.resealing.run()),
        asyncio.create_task(parts.wraps.run()),
        asyncio.create_task(parts.witness.run()),
        asyncio.create_task(parts.anchoring.run()),
        asyncio.create_task(parts.rows.anchoring.run()),
        asyncio.create_task(parts.rows.watch()),
        asyncio.create_task(parts.bulks.run()),
        asyncio.create_task(parts.clocks.run()),
        asyncio.create_task(parts.checkpoints.run()),
        asyncio.create_task(parts.firmware.run()),
        asyncio.create_task(parts.retaining.finish()),
    ]
    ready()
    await stop.wait()
    for work in works:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    watching.cancel()
    await parts.comparing.close()
    await socket.close()
    await server.close()
    await parts.retaining.close()
    await parts.mdms.close()
    await keys.close()
    engine.dispose()


async def told(audit: AuditLog, refused: list[Refused]) -> None:
    """Write what the mesh refused before any method ran into the audit trail."""
    await audit.refused(
        [
            Refusal(at=one.until, code=one.code, sentence=one.sentence, source=one.caller or one.source)
            for one in refused
        ]
    )


async def _upkeep(parts: Parts) -> None:
    """Validate and bill what has become due, roll keys out; a failure is logged and tried again at the next turn."""
    while True:
        await asyncio.sleep(UPKEEP)
        await parts.rows.watch()
        try:
            await parts.mdms.run_vee(now_ms())
            await parts.utility.run_bills(now_ms())
            await parts.checkpoints.look()
            await parts.rollout.run()
            await parts.forecasting.daily()
        except MetersealError as error:
            log.warning("upkeep.failed", code=error.code, message=error.message)
        except Exception:  # a defect ends this turn, not the upkeep, and is said in full
            log.exception("upkeep.defect")


async def _look_ahead(unusual: Unusual) -> None:
    """Look at running bills soon after a start, for what was found before is gone, and once a day; in a city that takes
    the better part of an hour, and nothing else waits for it.
    """
    await asyncio.sleep(STARTED)
    while True:
        try:
            await unusual.daily()
        except MetersealError as error:
            log.warning("unusual.failed", code=error.code, message=error.message)
        except Exception:  # a defect ends this turn, not the looking, and is said in full
            log.exception("unusual.defect")
        await asyncio.sleep(UPKEEP)


async def _watch(revoking: Revoking) -> None:
    """Destroy the sessions of modules that were taken out of service; a service that is away is asked again."""
    while True:
        try:
            await revoking.run()
        except MetersealError as error:
            log.warning("revoking.failed", code=error.code)
        except Exception:  # a defect ends this turn, not the watch, and is said in full
            log.exception("revoking.defect")
        await asyncio.sleep(WATCH)
