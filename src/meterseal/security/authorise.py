"""Who may ask the security service for what: one table, deny by default.

It looks at the caller's name, which the mesh took from a certificate; what a call is about is judged by the
act itself.

`headend` opens sessions and never enrols; `platform` enrols and reads facts and never sees a session's
keys; `web` asks nothing. `operator` is the command line of the account that runs the system.
"""

from __future__ import annotations

HEADEND = frozenset({"headend"})
PLATFORM = frozenset({"platform"})
ISSUE = frozenset({"platform", "operator"})
FACTS = frozenset({"platform", "headend"})
WATCH = frozenset({"platform", "operator"})

CALLERS: dict[str, frozenset[str]] = {
    "hello": HEADEND,
    "device": HEADEND,
    "unwrap": HEADEND,
    "personalise": ISSUE,
    "personalise_batch": ISSUE,
    "lab_issue": ISSUE,
    "withdraw": ISSUE,
    "check_evidence": PLATFORM,
    "data_key": PLATFORM,
    "unwrap_data_key": PLATFORM,
    "device_facts": FACTS,
    "anchors": FACTS | {"operator"},
    "audit": WATCH,
    "verify_audit": WATCH,
    "usage": WATCH,
}
