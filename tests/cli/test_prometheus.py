"""`meterseal status --prometheus`: names as Prometheus asks, no label that tells a meter, and every count once."""

from __future__ import annotations

import json
import re

from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from meterseal.app.alarming import Alarms
from meterseal.app.operator import Counts, as_json
from meterseal.cli.prometheus import exposition
from meterseal.cli.status import _reconciled, _status_lines
from meterseal.mdms.reconciliation import Reconciled
from meterseal.security.messages import KeyFacts
from meterseal.security.nearing import nearing
from meterseal.things.alarm import KINDS, Count, alarm_of

COUNTS = Counts(
    meters=240, sessions=241, records=9_000, readings=231_000, evidence=40, evidence_good=39, repeats=7, quarantined=2,
    refused=30, bills=12, total_fen=99_000, audit_ok=True, audit_entries=30, to_reseal=5,
    reconciled=tuple(
        Reconciled(
            way="sealed", hour_at=hour, received=20, stored=11, repeated=5, refused=3, held=1, concentrator="c0"
        )
        for hour in (0, 3_600_000)
    ),
)  # fmt: skip
ALARMS = Alarms(
    alarms=[
        Count(code=code, alarm=alarm_of(code), held=held, count=10 + number, last_at=1)
        for number, code in enumerate((*KINDS, "wire.checksum", 'a "strange" code'))
        for held in (False, True)
    ],
    words={"request": {"done": 3, "sent": 1}},
)
KEYS = [
    KeyFacts(
        vault="keys", id=name, version=version, parent_version=0, state="active", check_value=b"123", used=17,
        limit=limit,
    )
    for name, version, limit in (("DIAK", 1, 10**9), ("DIAK", 2, 10**9), ("AUDIT", 1, 1 << 62))
]  # fmt: skip
LABELS = {
    "concentrator",
    "way",
    "outcome",
    "code",
    "alarm",
    "held",
    "kind",
    "state",
    "vault",
    "key",
    "version",
}
UNITS = re.compile(r"(_ms|_milliseconds|_minutes|_hours|_days|_kb|_mb|_percent|_fen)(_|$)")


def families(keys: list[KeyFacts] | None = KEYS) -> dict[str, object]:
    return {one.name: one for one in text_string_to_metric_families(exposition(COUNTS, ALARMS, keys))}


def test_names_and_labels_are_as_prometheus_asks() -> None:
    found = families()
    assert len(found) > 12
    for name, family in found.items():
        assert re.fullmatch(r"meterseal(_[a-z]+)+", name)
        assert not UNITS.search(name)
        assert not name.endswith("_total")  # the parser takes the suffix off a counter; a gauge has none
        assert family.documentation.endswith(".")  # type: ignore[attr-defined]
        for sample in family.samples:  # type: ignore[attr-defined]
            assert sample.name == (f"{name}_total" if family.type == "counter" else name)  # type: ignore[attr-defined]
            assert set(sample.labels) <= LABELS
            assert not any(re.search(r"[0-9a-fA-F]{12,}", value) for value in sample.labels.values())


def test_every_count_is_there_once_with_its_value() -> None:
    found = families()

    def value(name: str, **labels: str) -> float:
        (sample,) = [one for one in found[name].samples if one.labels == labels]  # type: ignore[attr-defined]
        return float(sample.value)

    assert value("meterseal_readings") == 231_000
    assert value("meterseal_audit_trail_intact") == 1
    assert value("meterseal_key_uses", vault="keys", key="DIAK", version="2") == 17
    assert {one.labels["key"] for one in found["meterseal_key_use_limit"].samples} == {"DIAK"}  # type: ignore[attr-defined]
    assert value("meterseal_refusals", code='a "strange" code', alarm="other", held="false") > 0
    for alarm, name in (
        ("decryption", "meterseal_decryption_failures"),
        ("integrity", "meterseal_integrity_alarms"),
    ):
        assert value(name) == sum(one.count for one in ALARMS.alarms if one.alarm == alarm) > 0
    assert len(found["meterseal_refusals"].samples) == len(ALARMS.alarms)  # type: ignore[attr-defined]


def test_a_security_service_that_is_away_is_said_and_not_counted_as_nothing() -> None:
    found = families(None)
    assert [one.value for one in found["meterseal_keys_up"].samples] == [0]  # type: ignore[attr-defined]
    assert "meterseal_key_uses" not in {one for one, what in found.items() if what.samples}  # type: ignore[attr-defined]


def test_a_key_near_its_limit_shows_as_a_ratio_and_as_an_alarm() -> None:
    def at(used: int, version: int, state: str = "active", limit: int = 1000) -> KeyFacts:
        return structs.replace(KEYS[0], version=version, used=used, limit=limit, state=state)

    keys = [at(499, 1), at(500, 2), at(799, 3), at(800, 4), at(1000, 5), at(990, 6, "withdrawn")]
    found = families(keys)
    ratios = {one.labels["version"]: one.value for one in found["meterseal_key_use_ratio"].samples}  # type: ignore[attr-defined]
    assert ratios == {"1": 0.499, "2": 0.5, "3": 0.799, "4": 0.8, "5": 1.0, "6": 0.99}
    near = {one.labels["alarm"]: one.value for one in found["meterseal_keys_near_limit"].samples}  # type: ignore[attr-defined]
    assert near == {"reminder": 2, "alarm": 1, "reached": 1}
    assert "meterseal_keys_near_limit" not in families(None)
    assert {one.value for one in families()["meterseal_keys_near_limit"].samples} == {0}  # type: ignore[attr-defined]


def test_status_begins_with_the_keys_that_come_near_their_limit_and_says_what_to_do() -> None:
    near = nearing([structs.replace(KEYS[0], used=81, limit=100)])
    found = json.loads(as_json(COUNTS)) | json.loads(as_json(ALARMS)) | {"keys": json.loads(as_json(near))}
    first = _status_lines(found)[0]
    assert first.startswith("KEY LIMIT ALARM: DIAK version 1 has had 81 of 100 uses (81 %)")
    assert "meterseal keys rotate diak" in first
    for nothing in ([], None):
        assert not any("LIMIT" in line for line in _status_lines(found | {"keys": nothing}))


def test_status_says_that_the_keys_were_put_back_and_nothing_where_nothing_is_to_be_said() -> None:
    found = json.loads(as_json(COUNTS)) | json.loads(as_json(ALARMS)) | {"keys": []}
    assert not any(
        "None" in line or "put_back" in line or "PUT BACK" in line for line in _status_lines(found)
    )
    lost = _status_lines(found | {"keys_put_back_at": 1_790_000_000_000})
    assert any(line.startswith("THE KEYS WERE PUT BACK") and "2026-09-" in line for line in lost)
    (broken,) = (
        one for one in _status_lines(found | {"audit_ok": False, "audit_broken": "row 3"}) if "row 3" in one
    )
    assert broken == "THE AUDIT TRAIL DOES NOT HOLD: row 3"


def test_what_was_received_is_accounted_for_by_way_and_outcome() -> None:
    text = exposition(COUNTS, ALARMS, [])
    assert 'meterseal_readings_received_total{way="sealed"} 40.0' in text
    for outcome, number in {"stored": 22, "repeated": 10, "refused": 6, "held": 2}.items():
        assert f'meterseal_readings_accounted_total{{outcome="{outcome}",way="sealed"}} {number}.0' in text
    said = _reconciled(json.loads(as_json(COUNTS))["reconciled"])
    assert said == [
        "sealed         40 readings = 22 stored + 10 repeated + 6 refused + 2 held; newest hour 20"
    ]


def test_readings_are_accounted_for_by_concentrator_and_what_is_not_is_an_alarm() -> None:
    behind = {
        tuple(one.labels.values()): one.value
        for one in families()["meterseal_concentrator_readings"].samples  # type: ignore[attr-defined]
    }
    assert behind == {("c0", "stored"): 22, ("c0", "repeated"): 10, ("c0", "refused"): 6, ("c0", "held"): 2}
    (none,) = families()["meterseal_readings_unaccounted"].samples  # type: ignore[attr-defined]
    assert none.value == 0
    lost = structs.replace(COUNTS, reconciled=(structs.replace(COUNTS.reconciled[0], stored=9),))
    text = exposition(lost, ALARMS, KEYS)
    assert "meterseal_readings_unaccounted 2.0" in text
