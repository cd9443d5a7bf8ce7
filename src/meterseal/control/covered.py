"""Which tables of the control store the trail of rows covers, what of a row may change later, and why others are not in it.

No query here; `rowtrail` writes the trail and `rowcheck` compares. A table that stands nowhere here fails a test.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control import tables


class Covered(NamedTuple):
    """A covered table: columns that are never changed once they are written, those that may be, and whether rows go."""

    name: str
    key: tuple[str, ...]
    fixed: tuple[str, ...]
    rest: tuple[str, ...]
    goes: bool


def _covered(table: sa.Table, *, changes: str = "", goes: bool = False, without: str = "") -> Covered:
    rest, left_out = changes.split(), without.split()
    names = [str(column.name) for column in table.columns if column.name not in left_out]
    fixed = tuple(name for name in names if name not in rest)
    return Covered(
        str(table.name), tuple(str(one.name) for one in table.primary_key), fixed, tuple(rest), goes
    )


class Grows(NamedTuple):
    """A list in a row that a command may lengthen while nobody can seal an entry; each member comes with an act."""

    table: str
    column: str


COVERED: tuple[Covered, ...] = (
    # where meters are, and what was read off them
    _covered(tables.premises),
    _covered(tables.usage_points),
    _covered(tables.concentrators, changes="sealed_name key_version"),
    _covered(
        tables.meters,
        changes="usage_point_id protocol sealed_parameters key_version since until plain concentrator_id suite "
        "module_id project",
    ),
    _covered(tables.former_installations),
    _covered(tables.meter_changes, changes="sealed_stated key_version"),
    # who pays, and by what
    _covered(tables.customers, changes="name address wrapped_key key_version erased_at"),
    _covered(tables.tariffs),
    _covered(tables.agreements, changes="tariff_version until sealed_opening key_version"),
    _covered(tables.bills, changes="sealed_document key_version"),
    _covered(tables.bill_runs),
    # who may look, and who did what
    _covered(tables.accounts, changes="password_hash disabled_at", without="locale"),
    _covered(tables.sign_in_links, changes="used_at", goes=True),
    _covered(tables.web_sessions, goes=True),
    _covered(tables.acts),
    _covered(tables.questions, changes="outcome sealed_content key_version"),
    _covered(tables.service_modules, changes="withdrawn_at"),
    _covered(tables.wrapping_floors, changes="version", goes=True),
    # what readings are judged, estimated and edited by, and what was found
    _covered(tables.point_facts),
    _covered(tables.weather),
    _covered(tables.day_kinds),
    _covered(tables.vee_changes, changes="sealed_reason key_version"),
    _covered(tables.vee_exchanges),
    _covered(tables.vee_trials, goes=True),
    _covered(tables.vee_runs, changes="entry", goes=True),
    _covered(tables.vee_programs),
    _covered(tables.vee_channels),
    _covered(tables.answered, changes="entry", goes=True),
    _covered(tables.findings, changes="sealed_values key_version"),
    _covered(tables.quarantine, changes="sealed_record key_version"),
    _covered(tables.edits, changes="state officers saved_at sealed_content key_version"),
    _covered(tables.retentions, changes="sealed_reason key_version"),
    _covered(tables.rollups, changes="done rows readings bytes"),
    # the store's and the ledger's own
    _covered(
        tables.stores,
        changes="journal_given ledger_from sealed_mark key_version",
        without="sequence counts journal_ended journal_begun journal_faults",
    ),
    _covered(tables.ledger_seeds, changes="sealed_nodes key_version"),
    _covered(tables.ledger_checkpoints),
    _covered(tables.ledger_erasures),
    _covered(tables.segments, goes=True),
    _covered(tables.trail_keys, changes="sealed_key key_version"),
)

LEFT_OUT = ("accounts", "stores")
"""Covered tables of which some columns change without an entry: the language somebody reads in, and how far the store's
files are, which every compaction moves and the ledger's walk holds against the files and the signed checkpoints."""
GROWS_OFFLINE = Grows("stores", "journal_given")

ELSEWHERE: dict[str, str] = {
    "row_trail": "the trail itself: chained, each entry under a key, its head at the security service",
    "refusals": "a chain of its own, its head at the security service",
    "evidence": "the ledger's walk compares every statement with the leaves; reason and time of receipt are shown alone",
    "consumed_counters": "changes with every commit; a reading that is told again is no other reading",
    "data_keys": "another key opens nothing",
    "sessions": "a row with every handshake; its traffic keys are wrapped, and the security service names whose they are",
    "down_leases": "the security service remembers what it leased",
    "service_heads": "changes every minute; the security service's own log is compared with it",
    "clock_sights": "a row of each look at a clock; what was measured is a fact, this how long a change of it is doubted",
    "heat_days": "temperatures of a day, sealed in their place; no reading and no bill rests on them, and a run that said "
    "something by them is replayed and compared with its digest",
    "meter_status": "what a meter said last, over and over; no bill, reading or finding rests on it",
    "held_bills": "made anew by every run of bills",
    "down_words": "what acts carries the security service's word for that very frame",
    "bulk_orders": "what officers signed is verified when it is used",
    "bulk_items": "how far an order is; each frame is authorised by itself",
    "firmware_images": "the signed list of releases decides, and is verified each time",
    "firmware_campaigns": "how far a campaign is",
    "firmware_items": "how far a campaign is",
    "firmware_devices": "what a device said of itself last",
    "firmware_keys": "sealed; another key signs no list that is taken",
}
"""The other tables, each with what meets a change of it or what it decides."""
