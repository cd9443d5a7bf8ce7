"""Station MDMS, what ingest noticed on its way, into tables: records held back, findings, clocks, heat, meters' states.

It judges nothing. All of it is written again after a crash, and counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock

from meterseal.mdms.clocks import Measured
from meterseal.mdms.findings import Findings
from meterseal.mdms.heats import Heats
from meterseal.mdms.quarantine import Quarantine
from meterseal.mdms.state import State
from meterseal.mdms.store.manifest import Manifest


class Notes:
    """Writes what lies in the state, and takes it from there once it is written."""

    def __init__(
        self,
        state: State,
        lock: RLock,
        quarantine: Quarantine,
        findings: Findings,
        manifest: Manifest,
        clocks: Callable[[Sequence[Measured]], None],
        heats: Heats,
    ) -> None:
        self._state = state
        self._lock = lock
        self._quarantine = quarantine
        self._findings = findings
        self._manifest = manifest
        self._clocks = clocks
        self._heats = heats

    def write(self) -> None:
        """Write everything noticed so far. Raises EngineError `control.*`; then it waits for the next time."""
        with self._lock:
            held, found = list(self._state.quarantined), list(self._state.findings)
            clocks, heats = list(self._state.clocks), list(self._state.heats)
            statuses = dict(self._state.statuses)
        self._quarantine.append(held)
        self._findings.append(found)
        if clocks:
            self._clocks(clocks)
        self._heats.keep(heats)
        self._manifest.statuses(list(statuses.values()))
        with self._lock:
            del self._state.quarantined[: len(held)], self._state.findings[: len(found)]
            del self._state.clocks[: len(clocks)], self._state.heats[: len(heats)]
            for device_id, status in statuses.items():
                if self._state.statuses.get(device_id) is status:
                    del self._state.statuses[device_id]
