"""Which tables of the control store have sealed columns, and by what their rows are known.

No key and no row here; `classes` says of every column of every table why it is sealed or not.
"""

from __future__ import annotations

from meterseal.control import tables
from meterseal.control.rings import BILLS, FLEET, MEASUREMENTS, WORDS
from meterseal.control.sealing import SealedTable

QUARANTINE = SealedTable(
    tables.quarantine, row=("session_id", "counter", "code", "device_id"), columns=("sealed_record",)
)
FINDINGS = SealedTable(
    tables.findings,
    row=("usage_point", "channel", "since", "until", "rule", "digest"),
    columns=("sealed_values",),
)
EDITS = SealedTable(tables.edits, row=("id", "usage_point"), columns=("sealed_content",))
VEE_CHANGES = SealedTable(tables.vee_changes, row=("id", "kind"), columns=("sealed_reason",))
RETENTIONS = SealedTable(tables.retentions, row=("id", "subject"), columns=("sealed_reason",))
QUESTIONS = SealedTable(tables.questions, row=("id",), columns=("sealed_content",))
EVIDENCE = SealedTable(
    tables.evidence, row=("device_id", "channel", "sequence"), columns=("sealed_statement",)
)
METER_STATUS = SealedTable(tables.meter_status, row=("device_id",), columns=("sealed_state",))
HEAT_DAYS = SealedTable(tables.heat_days, row=("usage_point", "day"), columns=("sealed_hours",))
STORES = SealedTable(tables.stores, row=("id",), columns=("sealed_mark",))
LEDGER_SEEDS = SealedTable(tables.ledger_seeds, row=("usage_point",), columns=("sealed_nodes",))
TRAIL_KEYS = SealedTable(tables.trail_keys, row=("id",), columns=("sealed_key",))
BILL = SealedTable(tables.bills, row=("id",), columns=("sealed_document",))
AGREEMENTS = SealedTable(tables.agreements, row=("id",), columns=("sealed_opening",))
CONCENTRATORS = SealedTable(tables.concentrators, row=("device_id",), columns=("sealed_name",))
METERS = SealedTable(tables.meters, row=("device_id",), columns=("sealed_parameters",))
METER_CHANGES = SealedTable(tables.meter_changes, row=("usage_point_id", "at"), columns=("sealed_stated",))
DOWN_WORDS = SealedTable(tables.down_words, row=("request_id",), columns=("sealed_content", "sealed_answer"))
BULK_ORDERS = SealedTable(tables.bulk_orders, row=("request_id",), columns=("sealed_content",))
FIRMWARE_KEYS = SealedTable(tables.firmware_keys, row=("id",), columns=("sealed_key",))
CUSTOMERS = SealedTable(tables.customers, row=("id",), columns=("name", "address"))
"""Under each customer's own key, not under a ring; see `utility.customers`."""

UNDER: dict[str, tuple[SealedTable, ...]] = {
    MEASUREMENTS: (
        QUARANTINE,
        FINDINGS,
        EDITS,
        VEE_CHANGES,
        QUESTIONS,
        RETENTIONS,
        EVIDENCE,
        METER_STATUS,
        HEAT_DAYS,
        STORES,
        LEDGER_SEEDS,
        TRAIL_KEYS,
    ),
    BILLS: (BILL, AGREEMENTS, METER_CHANGES),
    FLEET: (CONCENTRATORS, METERS),
    WORDS: (DOWN_WORDS, BULK_ORDERS, FIRMWARE_KEYS),
}
"""The tables of each ring."""
