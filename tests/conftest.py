"""What the whole run of tests says at its end: how far the search of the link went, which checks it saw fall, and
which refusals no test met."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.contracts.refusals"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    told = [one for report in passed for one in report.user_properties]
    for line in (str(value) for name, value in told if name == "search"):
        terminalreporter.write_line(f"search of the link, {line}")
    attacked = sorted({str(value) for name, value in told if name == "attack"})
    if attacked:
        terminalreporter.write_line(f"search of the link, attacked when switched off: {', '.join(attacked)}")
