"""Who may ask the security service for what: the groups of callers that the desks name, deny by default.

It looks at the caller's name, which the mesh took from a certificate; what a call is about is judged by the
act itself.

A platform of somebody else is `platform:NAME`; what it may ask for is named `PARTNER` and is nothing that changes
modules or keys. `headend` opens sessions and never enrols; `platform` enrols and reads facts and never sees a session's
keys; `web` asks nothing. `operator` is the command line of the account that runs the system, over a Unix
socket.
"""

from __future__ import annotations

HEADEND = frozenset({"headend"})
PLATFORM = frozenset({"platform"})
PARTNER = frozenset({"platform:*"})
OPERATOR = frozenset({"operator"})
ISSUE = PLATFORM | OPERATOR
FACTS = PLATFORM | HEADEND
WATCH = PLATFORM | OPERATOR
