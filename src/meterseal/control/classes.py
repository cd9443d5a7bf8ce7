"""What every column of the control store shows to whoever reads the file: nothing, or something on purpose.

It seals nothing itself (`sealing` does). A column that is not declared here fails a test, so that nobody adds one in
clear without saying why.
"""

from __future__ import annotations

from msgspec import Struct


class Public(Struct, frozen=True):
    """In clear, and why that is right."""

    why: str


class Hashed(Struct, frozen=True):
    """Only a hash of it is here."""

    why: str


class Wrapped(Struct, frozen=True):
    """A key under a key that the security service alone holds."""


class Sealed(Struct, frozen=True):
    """SM4-GCM, bound to table, row, column and key version."""


Class = Public | Hashed | Wrapped | Sealed

ID = Public(
    "a random or public identity; it names a thing to the rest of the system and says nothing of a person"
)
TIME = Public("an instant; queries and retention need it")
WORD = Public("one of a few words that rules and lists select by")
VERSION = Public("which key version, or which version of a rule, this row stands under")
COUNT = Public("how many, or a number in sequence; no reading")
IMAGE = Public("which firmware is released or runs, as its maker publishes it; nothing of a person")
LINK = Public("what a session may do; a session without its wrapped keys is worth nothing")
CHAIN = Hashed("a link of a chain, or the digest of something sealed")
TOKEN = Hashed("SM3 of 32 random bytes")
WRAPPED = Wrapped()
SEALED = Sealed()

CLASSES: dict[str, dict[str, Class]] = {
    "premises": {"id": ID},
    "usage_points": {"id": ID, "premises_id": ID, "medium": WORD},
    "concentrators": {"device_id": ID, "sealed_name": SEALED, "key_version": VERSION},
    "meters": {
        "device_id": ID,
        "usage_point_id": ID,
        "protocol": Public("which of two published frame formats"),
        "sealed_parameters": SEALED,
        "key_version": VERSION,
        "since": TIME,
        "until": TIME,
        "plain": WORD,
        "concentrator_id": ID,
        "suite": WORD,
        "module_id": ID,
        "project": ID,
    },
    "former_installations": {"device_id": ID, "since": TIME, "until": TIME, "usage_point_id": ID},
    "meter_changes": {
        "usage_point_id": ID,
        "at": TIME,
        "removed": ID,
        "installed": ID,
        "recorded_at": TIME,
        "sealed_stated": SEALED,
        "key_version": VERSION,
    },
    "meter_status": {
        "device_id": ID,
        "at": TIME,
        "sealed_state": SEALED,
        "key_version": VERSION,
        "received_at": TIME,
    },
    "sessions": {
        "session_id": ID,
        "device_id": ID,
        "module_id": ID,
        "suite": WORD,
        "wrapped": WRAPPED,
        "policy": WORD,
        "records_allowed": LINK,
        "seconds_allowed": LINK,
        "platform_until": TIME,
        "created_at": TIME,
        "replaced_at": TIME,
        "owner_epoch": COUNT,
        "down_reserved": COUNT,
        "profile": WORD,
        "skipped": COUNT,
    },
    "down_leases": {"id": WORD, "reserved": COUNT, "leased": COUNT, "skipped": COUNT},
    "down_words": {
        "id": COUNT,
        "device_id": ID,
        "kind": WORD,
        "state": WORD,
        "request_id": ID,
        "number": COUNT,
        "created_at": TIME,
        "not_after": TIME,
        "attempts": COUNT,
        "sent_at": TIME,
        "sent_session": ID,
        "ended_at": TIME,
        "key_version": VERSION,
        "sealed_content": SEALED,
        "sealed_answer": SEALED,
    },
    "bulk_orders": {
        "id": COUNT,
        "request_id": ID,
        "state": WORD,
        "created_at": TIME,
        "not_after": TIME,
        "key_version": VERSION,
        "sealed_content": SEALED,
    },
    "bulk_items": {"bulk_id": COUNT, "device_id": ID, "state": WORD, "code": WORD, "word_id": COUNT},
    "firmware_images": {
        "id": COUNT,
        "name": IMAGE,
        "model": IMAGE,
        "hardware": IMAGE,
        "version": IMAGE,
        "lowest": IMAGE,
        "size": COUNT,
        "root": IMAGE,
        "created_at": TIME,
        "released_at": TIME,
        "manifest": IMAGE,
    },
    "firmware_campaigns": {
        "id": COUNT,
        "bulk_id": COUNT,
        "image": IMAGE,
        "digest": IMAGE,
        "state": WORD,
        "wave": COUNT,
        "waves": COUNT,
        "stop_percent": COUNT,
        "forgiven": COUNT,
        "created_at": TIME,
    },
    "firmware_items": {
        "campaign_id": COUNT,
        "device_id": ID,
        "wave": COUNT,
        "state": WORD,
        "code": WORD,
        "changed_at": TIME,
    },
    "firmware_devices": {
        "device_id": ID,
        "session_id": ID,
        "counter": COUNT,
        "reported_at": TIME,
        "model": IMAGE,
        "hardware": IMAGE,
        "version": IMAGE,
        "phase": WORD,
        "reason": WORD,
        "report": IMAGE,
    },
    "firmware_keys": {"id": WORD, "key_version": VERSION, "sealed_key": SEALED},
    "consumed_counters": {"session_id": ID, "ranges": COUNT, "changed_at": TIME},
    "customers": {
        "id": ID,
        "name": SEALED,
        "address": SEALED,
        "wrapped_key": WRAPPED,
        "key_version": VERSION,
        "created_at": TIME,
        "erased_at": TIME,
    },
    "tariffs": {
        "code": WORD,
        "version": VERSION,
        "medium": WORD,
        "since": TIME,
        "document": Public("a tariff is published"),
    },
    "agreements": {
        "id": ID,
        "customer_id": ID,
        "usage_point_id": ID,
        "tariff_code": WORD,
        "tariff_version": VERSION,
        "since": TIME,
        "until": TIME,
        "billing_day": WORD,
        "sealed_opening": SEALED,
        "key_version": VERSION,
    },
    "bills": {
        "id": ID,
        "agreement_id": ID,
        "since": TIME,
        "until": TIME,
        "currency": WORD,
        "version": VERSION,
        "sealed_document": SEALED,
        "key_version": VERSION,
        "created_at": TIME,
    },
    "held_bills": {
        "agreement_id": ID,
        "since": TIME,
        "until": TIME,
        "code": WORD,
        "sentence": Public("why a period waits: rules and times, never a register"),
        "found_at": TIME,
    },
    "bill_runs": {
        "id": COUNT,
        "at": TIME,
        "document": Public("ids and counts of a run, and why bills are held"),
    },
    "accounts": {
        "id": ID,
        "role": WORD,
        "customer_id": ID,
        "password_hash": Hashed("SM3 of what Argon2id made of the password, with its salt and costs"),
        "locale": WORD,
        "created_at": TIME,
        "disabled_at": TIME,
    },
    "sign_in_links": {"token_hash": TOKEN, "account_id": ID, "expires_at": TIME, "used_at": TIME},
    "web_sessions": {"token_hash": TOKEN, "account_id": ID, "created_at": TIME, "expires_at": TIME},
    "refusals": {
        "id": COUNT,
        "at": TIME,
        "code": WORD,
        "sentence": Public("what was refused and why; sentences quote no payload"),
        "device_id": ID,
        "session_id": ID,
        "counter": COUNT,
        "source": Public("where refused bytes came from, so that an attacker is seen when every key is away"),
        "previous": CHAIN,
        "hash": CHAIN,
    },
    "acts": {
        "id": COUNT,
        "at": TIME,
        "actor": ID,
        "act": WORD,
        "subject": ID,
        "previous": CHAIN,
        "hash": CHAIN,
    },
    "row_trail": {
        "id": COUNT,
        "at": TIME,
        "content": Hashed(
            "ids of rows that were written, and SM3 of them as they are stored, ciphertext and all"
        ),
        "previous": CHAIN,
        "hash": CHAIN,
        "tag": CHAIN,
    },
    "trail_keys": {"id": WORD, "key_version": VERSION, "sealed_key": SEALED},
    "data_keys": {"id": WORD, "version": VERSION, "purpose": WORD, "wrapped": WRAPPED, "created_at": TIME},
    "wrapping_floors": {"kind": WORD, "version": VERSION},
    "service_heads": {
        "service": WORD,
        "sequence": COUNT,
        "hash": CHAIN,
        "seen_at": TIME,
        "lost_at": TIME,
        "learned": COUNT,
    },
    "service_modules": {"module_id": ID, "device_id": ID, "withdrawn_at": TIME},
    "stores": {
        "id": ID,
        "sequence": COUNT,
        "counts": COUNT,
        "journal_ended": COUNT,
        "journal_begun": COUNT,
        "sealed_mark": SEALED,
        "key_version": VERSION,
    },
    "segments": {
        "id": ID,
        "store_id": ID,
        "medium": WORD,
        "month": TIME,
        "path": Public("the name of a sealed file: medium, month and a number"),
        "key_version": VERSION,
        "rows": COUNT,
        "size": COUNT,
        "digest": CHAIN,
        "first_usage_point": ID,
        "last_usage_point": ID,
        "first_end_at": TIME,
        "last_end_at": TIME,
        "journal_first": COUNT,
        "journal_last": COUNT,
        "created_at": TIME,
    },
    "quarantine": {
        "id": COUNT,
        "session_id": ID,
        "counter": COUNT,
        "device_id": ID,
        "received_at": TIME,
        "reject_class": WORD,
        "code": WORD,
        "key_version": VERSION,
        "sealed_record": SEALED,
    },
    "findings": {
        "id": COUNT,
        "usage_point": ID,
        "channel": WORD,
        "since": TIME,
        "until": TIME,
        "rule": WORD,
        "version": VERSION,
        "severity": WORD,
        "detail": Public("parameters of a rule and counts, never a register"),
        "sealed_values": SEALED,
        "key_version": VERSION,
        "digest": Hashed(
            "HMAC-SM3 of the finding under a sealed key; a plain hash would tell an 8-digit register"
        ),
        "run": WORD,
    },
    "edits": {
        "id": COUNT,
        "usage_point": ID,
        "channel": WORD,
        "since": TIME,
        "until": TIME,
        "undoes": COUNT,
        "people": COUNT,
        "state": WORD,
        "author": ID,
        "officers": ID,
        "created_at": TIME,
        "saved_at": TIME,
        "sealed_content": SEALED,
        "key_version": VERSION,
        "digest": Hashed(
            "HMAC-SM3 of the edit under a sealed key; a plain hash would tell an 8-digit register"
        ),
    },
    "rollups": {
        "sequence": COUNT,
        "at": TIME,
        "content": Public("periods, pseudonyms of usage points and instants of exchanges; never a register"),
        "done": WORD,
        "rows": COUNT,
        "readings": COUNT,
        "bytes": COUNT,
    },
    "retentions": {
        "id": COUNT,
        "at": TIME,
        "author": ID,
        "kind": WORD,
        "subject": ID,
        "intervals": COUNT,
        "days": COUNT,
        "sealed_reason": SEALED,
        "key_version": VERSION,
    },
    "questions": {
        "id": COUNT,
        "at": TIME,
        "author": ID,
        "outcome": WORD,
        "sealed_content": SEALED,
        "key_version": VERSION,
    },
    "ledger_seeds": {"usage_point": ID, "key_version": VERSION, "sealed_nodes": SEALED},
    "ledger_erasures": {
        "id": COUNT,
        "usage_point": ID,
        "first_day": TIME,
        "last_day": TIME,
        "size": COUNT,
        "leaves": COUNT,
        "digest": Hashed("over leaves of the tree, which are published"),
    },
    "ledger_checkpoints": {
        "number": COUNT,
        "size": COUNT,
        "at": TIME,
        "note": Public("a checkpoint is published; its root is a hash over leaves under secret salts"),
    },
    "evidence": {
        "device_id": ID,
        "channel": WORD,
        "sequence": COUNT,
        "usage_point": ID,
        "end_at": TIME,
        "suite": WORD,
        "module_id": ID,
        "checked": WORD,
        "reason": Public("why a check came out as it did, without a register"),
        "received_at": TIME,
        "key_version": VERSION,
        "sealed_statement": SEALED,
    },
    "weather": {
        "id": COUNT,
        "hour": TIME,
        "centidegrees": Public("the weather outside, which everybody can read"),
    },
    "point_facts": {
        "id": COUNT,
        "usage_point": ID,
        "channel": WORD,
        "kind": WORD,
        "value": Public(
            "a class, the size of a connection, a main meter, a group, a meter's alarm; no reading, no name"
        ),
        "since": TIME,
        "until": TIME,
        "recorded_at": TIME,
    },
    "vee_changes": {
        "id": COUNT,
        "kind": WORD,
        "rule": WORD,
        "medium": WORD,
        "customer": WORD,
        "zone": Public("what supplies usage points, as facts name it; no person"),
        "since": TIME,
        "until": TIME,
        "state": WORD,
        "setting": Public("parameters of a rule, or names of methods; no reading"),
        "tried": COUNT,
        "author": ID,
        "sealed_reason": SEALED,
        "key_version": VERSION,
        "recorded_at": TIME,
    },
    "day_kinds": {"id": COUNT, "day": TIME, "kind": WORD},
    "vee_runs": {
        "id": COUNT,
        "at": TIME,
        "entry": COUNT,
        "fact": COUNT,
        "change": COUNT,
        "exchange": COUNT,
        "weather": COUNT,
        "day": COUNT,
        "channels": COUNT,
        "looked": Public("numbers of channels and instants from which on they were judged; no reading"),
        "program": VERSION,
        "readings": COUNT,
        "findings": COUNT,
        "versions": COUNT,
        "unread": COUNT,
        "digest": Hashed("keyed, over what a run said: a plain hash would tell a register"),
    },
    "vee_programs": {"id": Hashed("over versions that stand beside it"), "versions": VERSION},
    "vee_channels": {
        "id": COUNT,
        "count": COUNT,
        "content": Public("pseudonyms of usage points and numbers of channels; no reading"),
    },
    "vee_exchanges": {"id": COUNT, "usage_point": ID, "begins": TIME},
    "vee_trials": {
        "id": COUNT,
        "change": Public("a rule, its medium, class and parameters; no reading"),
        "tried": COUNT,
    },
    "answered": {"at": TIME, "entry": COUNT},
}
