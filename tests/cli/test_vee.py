"""`meterseal vee` as a person uses it; what needs a running system is in `test_running`."""

from __future__ import annotations

import pytest

from meterseal.cli.vee import SENTENCES, _trial, sentence
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.judge import judge
from meterseal.mdms.vee.rules import RULES, Rule
from tests.cli.conftest import meterseal
from tests.mdms.vee_tables import small, table


def test_the_rules_are_listed_with_their_parameters() -> None:
    listed = meterseal("vee", "rules", "--json").document["rules"]
    assert {row["rule"] for row in listed} == set(RULES)
    (spike,) = [row for row in listed if (row["rule"], row["medium"]) == ("spike", "gas")]
    assert spike["parameters"]["least"] == 3000
    business = meterseal("vee", "rules", "--medium", "gas", "--customer", "business").out
    assert "spike           gas          warning  v2  least=15000" in business
    assert "water" not in business
    assert meterseal("vee", "rules", "--medium", "oil", "--json").error() == "use.rules"


@pytest.mark.parametrize(
    "arguments",
    [("try", "spikes"), ("try", "spike", "least"), ("try", "spike", "colour=3"), ("try", "gap", "allowed=x")],
)
def test_what_cannot_be_tried_is_refused_before_anybody_is_asked(arguments: tuple[str, ...]) -> None:
    answer = meterseal("vee", *arguments, "--data", "nowhere")
    assert answer.status == 2
    answer.sentence()


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
                "detail": {},
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
