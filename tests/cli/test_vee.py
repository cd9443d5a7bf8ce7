"""`meterseal vee` as a person uses it; what needs a running system is in `test_running`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from meterseal.cli.changes import _trial
from meterseal.cli.facts import _lines
from meterseal.cli.vee import SENTENCES, _said, sentence
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.judge import judge
from meterseal.mdms.vee.rules import RULES, Rule
from tests.cli.conftest import here
from tests.mdms.vee_tables import small, table


def test_the_rules_are_listed_with_their_parameters() -> None:
    listed = here("vee", "rules", "--json").document["rules"]
    assert {row["rule"] for row in listed} == set(RULES)
    (spike,) = [row for row in listed if (row["rule"], row["medium"]) == ("spike", "gas")]
    assert spike["parameters"]["least"] == 3000
    business = here("vee", "rules", "--medium", "gas", "--customer", "business").out
    assert "spike           gas          warning  v2  least=15000" in business
    assert "water" not in business
    assert here("vee", "rules", "--medium", "oil", "--json").error() == "use.rules"


@pytest.mark.parametrize(
    "arguments",
    [
        ("edit", "1078330000000001", "--reason", "r", "--day", "2026-11-02", "--at", "2026-11-02 01:00"),
        ("edit", "1078330000000001", "--reason", "r", "--since", "2026-11-02 01:00"),
        (
            "edit",
            "1078330000000001",
            "--reason",
            "r",
            "--since",
            "2026-11-02 01:00",
            "--until",
            "2026-11-02 01:00",
        ),
        ("edit", "1078330000000001", "--reason", "r", "--day", "yesterday"),
        ("edit", "1078", "--reason", "r", "--day", "2026-11-02"),
        ("show", "up-1", "--as-of", "yesterday"),
        ("show", "up-1", "--as-of", "2026-11-02", "--day", "2026-11-31"),
        ("approve", "1", "--to", "a", "--order", "b"),
        ("try", "spikes"),
        ("try", "spike", "least"),
        ("try", "spike", "colour=3"),
        ("try", "gap", "allowed=x"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anybody_is_asked(arguments: tuple[str, ...]) -> None:
    answer = here("vee", *arguments, "--data", "nowhere")
    assert answer.status == 2
    answer.sentence()


HEAD = "usage_point,fact,value,since,until\n"


@pytest.mark.parametrize(
    "content",
    [
        b"usage_point,fact,value\nup-1,class,business\n",
        (HEAD + "up-1,colour,red,,\n").encode(),
        (HEAD + "up-1,vacant,vacant,,\n").encode(),
        (HEAD + "up-1,class,business,yesterday,\n").encode(),
        (HEAD + "up-1,class,business,2026-13-01,\n").encode(),
        (HEAD + "up-1,class,business,2026-11-01T00:00,\n").encode(),
        (HEAD + "up-1,class,business,,9999-01-01T00:00+08:00\n").encode(),
        (HEAD + "up-1,group," + "x" * 65 + ",,\n").encode(),
        (HEAD + '"up-1,class\n').encode(),
        HEAD.encode() + b"\xff\xfe,class,business,,\n",
        (HEAD + "up-1,class,business,,\n" * 50_001).encode(),
    ],
)
def test_a_file_of_facts_that_is_none_is_refused_before_anybody_is_asked(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "facts.csv"
    file.write_bytes(content)
    answer = here("vee", "facts", "import", str(file), "--data", "nowhere", "--json")
    assert answer.error() == "use.csv"


def test_nothing_found_and_nothing_known_are_said() -> None:
    assert _said([]) == ["nothing was found; rules run every hour, or now with: meterseal vee run"]
    assert next(_lines({"facts": [], "more": 0})).startswith("nothing is known")
    row = {"usage_point": "", "fact": "limit", "value": "12", "since": 0, "until": EVER}
    first, last = _lines({"facts": [row], "more": 3})
    assert " ".join(first.split()) == "all limit 12 always to open"
    assert last.startswith("and 3 more")


def test_every_rule_says_why_with_its_own_numbers() -> None:
    assert set(SENTENCES) == set(RULES)
    said: dict[str, str] = {}

    def choose(rule: Rule, context: Context) -> object:
        return small(rule.name)

    for seed in range(60):
        columns, context = table(seed)
        for one in judge(columns, context, choose).objections:  # type: ignore[arg-type]
            row = {
                "usage_point": "up-1",
                "channel": 1,
                "since": int(columns.end_at[one.since]),
                "until": int(columns.end_at[one.row]),
                "rule": one.rule,
                "severity": RULES[one.rule].severity,
                "facts": one.facts,
                "detail": {"parameters": msgspec.to_builtins(small(one.rule))},
            }
            said[one.rule] = sentence(row)
    assert set(said) == set(RULES)
    for rule, text in said.items():
        assert text.partition(f": {rule}: ")[2], text


def test_a_trial_tells_what_would_be_new_and_what_gone() -> None:
    row = {
        "usage_point": "up-7",
        "channel": 1,
        "since": 0,
        "until": 3_600_000,
        "rule": "spike",
        "severity": "warning",
        "facts": {"rate": 2.5, "third": 0.1, "hours": 1.0},
        "detail": {},
    }
    failed = row | {"rule": "rule-failed", "facts": {}, "detail": {"rule": "gap", "fault": "KeyError"}}
    lines = list(
        _trial(
            {"rule": "spike", "readings": 12_000, "channels": 3, "flags_now": 1, "would_flag": 1}
            | {"new": [row], "new_count": 1, "gone": [], "gone_count": 0}
        )
    )
    assert lines[0] == "12,000 readings of 3 channels: spike flags 1 now and would flag 1."
    assert lines[1:] == [
        "1 would be new:",
        "  1970-01-01 08:00 to 1970-01-01 09:00  up-7/1  warning: spike: 2.5 an hour, where the third highest of the "
        "week before was 0.1",
        "0 would be gone.",
    ]
    assert "the rule gap failed (KeyError)" in sentence(failed)
    two = row | {"rule": "conflict", "facts": {"kept": 1.2, "refused": 1.3}}
    assert sentence(two).endswith("two values for one instant: 1.2 is kept, 1.3 is not")
    parameters = {"parameters": {"days": 21}}
    low = row | {"rule": "low-use", "facts": {"use": 0.1, "mean": 4.0}, "detail": parameters}
    assert sentence(low).endswith("0.1 a day over 21 days, and 4 in the four weeks before")
    assert "edit 7" in sentence(row | {"rule": "edited", "facts": {}, "detail": {"edit": 7, "people": 2}})
