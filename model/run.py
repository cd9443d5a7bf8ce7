"""Run ProVerif over every model here and compare with `expected.toml`; where it is not installed, say so and end well.

It proves nothing by itself and knows no protocol.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
LONGEST = 600
"""Seconds for one file; each takes a few."""
_CLAIMS = (
    (r"inj-event\(PlatDone\(hd\[\].*==>.*", "the platform's run had its device, suite 1"),
    (r"inj-event\(DevDone\(hd\[\].*==>.*", "the device's session is the platform's, suite 1"),
    (r"inj-event\(PlatDone\(hd2\[\].*==>.*", "the platform's run had its device, suite 2"),
    (r"inj-event\(DevDone\(hd2\[\].*==>.*", "the device's session is the platform's, suite 2"),
    (r"not attacker(_p1)?\(upSecret\[\]\)", "secret upward"),
    (r"not attacker(_p1)?\(downSecret\[\]\)", "secret downward"),
    (r"not event\(DevDone\(hd\[\].*", "can finish, suite 1"),
    (r"not event\(DevDone\(hd2\[\].*", "can finish, suite 2"),
)


def expected() -> dict[str, dict[str, bool | str]]:
    """The table, by file."""
    return tomllib.loads((HERE / "expected.toml").read_text(encoding="utf-8"))


def claims_of(output: str) -> dict[str, bool]:
    """What ProVerif said of each claim; one that it could not decide is left out."""
    found: dict[str, bool] = {}
    for query, verdict in re.findall(r"^RESULT (?!\()(.+) is (true|false)\.$", output, re.MULTILINE):
        for pattern, claim in _CLAIMS:
            if re.fullmatch(pattern, query):
                # Of a run that can finish ProVerif is asked whether nobody does.
                found[claim] = (verdict == "true") != claim.startswith("can finish")
    return found


def main() -> int:
    tool = shutil.which("proverif")
    if tool is None:
        print("ProVerif is not installed (no `proverif` on the PATH): the symbolic model was not run.")
        print(
            "It is free software: opam install proverif. The exhaustive search in tests/link/search runs without it."
        )
        return 0
    wrong = 0
    for name, claims in expected().items():
        answer = subprocess.run(
            [tool, HERE / name], capture_output=True, text=True, timeout=LONGEST, check=False
        )
        said = claims_of(answer.stdout)
        print(f"{name}: {claims.pop('what')}")
        for claim, holds in claims.items():
            verdict = {True: "holds", False: "falls", None: "undecided"}[said.get(claim)]
            right = said.get(claim) is holds
            wrong += not right
            print(f"  {verdict:9} {claim}{'' if right else '   NOT AS EXPECTED'}")
        if set(said) - set(claims):
            wrong += 1
            print("  NOT AS EXPECTED: the model asks more than the table answers")
    print("as expected" if not wrong else f"{wrong} results are not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
