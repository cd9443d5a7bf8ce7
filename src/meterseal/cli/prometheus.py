"""The counters of `meterseal status` as Prometheus text, for a textfile collector or a script behind a scrape.

It counts nothing itself and names no meter: labels are codes, alarms and key ids of the key tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from meterseal.app.alarming import Alarms
from meterseal.app.operator import Counts
from meterseal.mdms.reconciliation import OUTCOMES
from meterseal.security.messages import KeyFacts
from meterseal.security.nearing import LEVELS, nearing
from meterseal.security.vault import UNBOUNDED


class _Found:
    """What was found once, as the library's collector."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(counts: Counts, alarms: Alarms, keys: Sequence[KeyFacts] | None) -> str:
    """The text format, version 0.0.4. `keys` None: the security service could not be asked, `meterseal_keys_up` is 0."""
    registry = CollectorRegistry()
    registry.register(_Found([*_held(counts), *_refused(alarms), *_keys(keys)]))
    return generate_latest(registry).decode()


def _held(counts: Counts) -> Iterable[Metric]:
    gauges = {
        "meters": ("Meters in place.", counts.meters),
        "sessions": ("Sessions that are stored.", counts.sessions),
        "bills": ("Bills in their newest version.", counts.bills),
        "items_to_reseal": ("What still stands under an older data key.", counts.to_reseal),
        "audit_entries": ("Entries of the audit trail that were verified.", counts.audit_entries),
        "store_troubles": ("What is wrong with the store of measurements now.", len(counts.troubles)),
    }
    counters = {
        "records": ("Records that were taken.", counts.records),
        "repeated_records": ("Records that came again and changed nothing.", counts.repeats),
        "readings": ("Readings that were stored.", counts.readings),
        "evidence": ("Signed statements of meters.", counts.evidence),
        "evidence_holding": ("Signed statements that hold.", counts.evidence_good),
    }
    for name, (said, value) in gauges.items():
        yield GaugeMetricFamily(f"meterseal_{name}", said, value=value)
    for name, (said, value) in counters.items():
        yield CounterMetricFamily(f"meterseal_{name}", said, value=value)
    received = CounterMetricFamily(
        "meterseal_readings_received", "Readings that were delivered, by way.", labels=("way",)
    )
    became = CounterMetricFamily(
        "meterseal_readings_accounted",
        "What became of them; all outcomes of a way together are what was received.",
        labels=("way", "outcome"),
    )
    for way in sorted({one.way for one in counts.reconciled}):
        here = [one for one in counts.reconciled if one.way == way]
        received.add_metric((way,), sum(one.received for one in here))
        for outcome in OUTCOMES:
            became.add_metric((way, outcome), sum(getattr(one, outcome) for one in here))
    yield received
    yield became
    behind = CounterMetricFamily(
        "meterseal_concentrator_readings",
        "Readings by the concentrator that brought them and what became of them; at most 251 concentrators.",
        labels=("concentrator", "outcome"),
    )
    for concentrator in sorted({one.concentrator for one in counts.reconciled} - {""}):
        here = [one for one in counts.reconciled if one.concentrator == concentrator]
        for outcome in OUTCOMES:
            behind.add_metric((concentrator, outcome), sum(getattr(one, outcome) for one in here))
    yield behind
    yield GaugeMetricFamily(
        "meterseal_readings_unaccounted",
        "Readings of which it is not known what became of them; not 0 is an alarm.",
        value=sum(
            abs(one.received - sum(getattr(one, outcome) for outcome in OUTCOMES))
            for one in counts.reconciled
        ),
    )
    if counts.audit_ok is not None:
        yield GaugeMetricFamily(
            "meterseal_audit_trail_intact",
            "1 when the audit trail was verified, 0 when it was changed; absent while nobody could look.",
            value=int(counts.audit_ok),
        )


def _refused(alarms: Alarms) -> Iterable[Metric]:
    refusals = CounterMetricFamily(
        "meterseal_refusals", "Messages that changed nothing, by code.", labels=("code", "alarm", "held")
    )
    sums = {"decryption": 0, "integrity": 0}
    for one in alarms.alarms:
        refusals.add_metric((one.code, one.alarm, "true" if one.held else "false"), one.count)
        if one.alarm in sums:
            sums[one.alarm] += one.count
    yield refusals
    yield CounterMetricFamily(
        "meterseal_decryption_failures", "Records whose content did not open.", value=sums["decryption"]
    )
    yield CounterMetricFamily(
        "meterseal_integrity_alarms", "Seals, signatures and logs that did not hold.", value=sums["integrity"]
    )
    words = GaugeMetricFamily("meterseal_words", "What was said to meters.", labels=("kind", "state"))
    for kind, states in alarms.words.items():
        for state, number in states.items():
            words.add_metric((kind, state), number)
    yield words
    yield GaugeMetricFamily(
        "meterseal_keys_put_back",
        "1 when the keys directory was found to be older than it was.",
        value=int(alarms.keys_put_back_at is not None),
    )


def _keys(keys: Sequence[KeyFacts] | None) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "meterseal_keys_up", "1 when the security service answered.", value=int(keys is not None)
    )
    uses = CounterMetricFamily(
        "meterseal_key_uses", "Uses of a key of the key tree.", labels=("vault", "key", "version")
    )
    limits = GaugeMetricFamily(
        "meterseal_key_use_limit", "Uses after which a key is refused.", labels=("vault", "key", "version")
    )
    ratios = GaugeMetricFamily(
        "meterseal_key_use_ratio",
        "Uses of a key in parts of its limit: remind at 0.5, alarm at 0.8, refused at 1.",
        labels=("vault", "key", "version"),
    )
    near = Counter(one.level for one in nearing(keys or ()))
    levels = GaugeMetricFamily(
        "meterseal_keys_near_limit", "Keys in use by how near their limit is.", labels=("alarm",)
    )
    for level in LEVELS[1:]:
        levels.add_metric((level,), near[level])
    for one in keys or ():
        place = (one.vault, one.id, str(one.version))
        uses.add_metric(place, one.used)
        if one.limit < UNBOUNDED:
            limits.add_metric(place, one.limit)
            ratios.add_metric(place, one.used / max(1, one.limit))
    yield uses
    yield limits
    yield ratios
    if keys is not None:
        yield levels
