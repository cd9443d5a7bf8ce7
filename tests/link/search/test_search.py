"""Every schedule of an attacker who owns the wire, on the shipped machines; and each check switched off yields an attack.

Proves the claims of LINK section 6: every end is no session or one that both sides agree on (ids, suite,
keys, transcript), each run fresh; and no record is taken that was not said, twice, or the wrong way. It
prints what it visited and what it found (`-s`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from meterseal.link import platform_run
from tests.link.search import switches
from tests.link.search.explore import Found, explore
from tests.link.search.handshakes import Handshakes, Plan
from tests.link.search.parties import A, B
from tests.link.search.sealed import Sealed
from tests.link.search.sealed_switches import SEALED_SWITCHES, SealedSwitch
from tests.link.search.switches import GAMES, SWITCHES, Switch

LISTED = {
    *("nonce", "ids", "suite", "signature", "chain", "project", "fin", "HELLO mac"),
    *("counter", "direction", "checksum", "vouching"),
}
"""The checks that issue 3 wants switched off in turn."""
LEAST = 100_000
"""Distinct states that the search must at least visit."""

WHOLE = (
    (Plan("two runs of two devices, suite 2", ((2, A), (2, A), (2, B), (2, B)), times=1), 4),
    (Plan("two runs of two devices, suite 1", ((1, A), (1, A), (1, B), (1, B)), times=1), 4),
    (
        Plan(
            "two runs of a device in each suite, 31 s",
            ((1, A), (1, A), (2, B), (2, B)),
            times=2,
            restarts=0,
        ),
        4,
    ),
    (Plan("a run in each suite, RETRY, 31 s and 16 min", ((2, A), (1, B)), retry=True), 2),
)
"""Games that are searched to their end, and how many sessions an honest schedule of each reaches."""


Tell = Callable[[str, object], None]
"""pytest's `record_property`: what is told under `search` or `attack` stands in the summary of the run."""


def say(line: str) -> None:
    """Seen with -s."""
    sys.stdout.write(line + "\n")


def shown(found: Found) -> str:
    return "; ".join(found.attack)


@pytest.mark.timeout(900)
def test_every_schedule_ends_in_no_session_or_one_that_both_sides_agree_on(record_property: Tell) -> None:
    visited = executed = 0
    for plan, sessions in WHOLE:
        game = Handshakes(plan)
        found = explore(game)
        assert not found.broken, f"{plan.name}: {found.broken}: {shown(found)}"
        assert found.complete, plan.name
        assert game.most_sessions == sessions, "the search must reach every honest end, too"
        say(f"{plan.name}: {found.visited} states, {found.acts} acts, {game.executed} on the machines")
        visited, executed = visited + found.visited, executed + game.executed
    told = (
        f"handshakes: {visited} distinct states visited, {executed} acts on the shipped machines, no attack"
    )
    record_property("search", told)
    assert visited >= LEAST


@pytest.mark.parametrize("plan", GAMES, ids=[plan.name for plan in GAMES])
def test_with_all_checks_on_no_attacker_reaches_anything(plan: Plan) -> None:
    """The games that the switches are tried in, before anything is switched off."""
    game = Handshakes(plan)
    found = explore(game)
    assert not found.broken, f"{found.broken}: {shown(found)}"
    assert found.complete
    assert game.most_sessions == len(plan.devices)
    say(f"{plan.name}: {found.visited} states, {game.executed} acts on the machines, no attack")


@pytest.mark.parametrize("switch", SWITCHES, ids=[f"{one.check}: {one.what}" for one in SWITCHES])
def test_a_handshake_without_this_check_is_attacked(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, record_property: Tell
) -> None:
    switch.off(monkeypatch)
    forgiven: frozenset[str] = frozenset()
    for falls in switch.falls:
        found = explore(Handshakes(switch.plan, forgiven))
        assert found.broken.split(":")[0] == falls, f"{switch.what}: found {found.broken or 'nothing'}"
        say(f"without {switch.check} ({switch.what}): {shown(found)} -> {found.broken}")
        forgiven |= {falls}
    record_property("attack", switch.check)


def test_records_are_taken_once_as_said_and_the_way_they_were_sealed(record_property: Tell) -> None:
    game = Sealed()
    found = explore(game)
    assert not found.broken, f"{found.broken}: {shown(found)}"
    assert found.complete
    assert game.most_taken == 6, "the two readings and the vouched one are taken, three forgeries are held"
    told = (
        f"records: {found.visited} distinct states visited, {game.executed} acts on the machines, no attack"
    )
    record_property("search", told)


@pytest.mark.parametrize(
    "switch", SEALED_SWITCHES, ids=[f"{one.check}: {one.what}" for one in SEALED_SWITCHES]
)
def test_a_record_without_this_check_is_attacked(
    switch: SealedSwitch, monkeypatch: pytest.MonkeyPatch, record_property: Tell
) -> None:
    game = Sealed()
    switch.off(monkeypatch)
    found = explore(game)
    assert found.broken.split(":")[0] == switch.falls, f"{switch.what}: found {found.broken or 'nothing'}"
    say(f"without {switch.check} ({switch.what}): {shown(found)} -> {found.broken}")
    record_property("attack", switch.check)


def test_every_check_of_the_list_has_its_switch() -> None:
    assert {one.check for one in (*SWITCHES, *SEALED_SWITCHES)} >= LISTED


def test_fin_d_is_held_up_by_the_tag_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fin_d alone no attack is found: who can make the tag of DEVICE knows what fin_d proves."""
    switches.no_fin_at_the_service(monkeypatch)
    for plan in GAMES[1:]:
        found = explore(Handshakes(plan))
        assert found.complete, f"{found.broken}: {shown(found)}"


def test_a_switch_changes_nothing_after_its_test() -> None:
    honest = platform_run.check_hello
    with pytest.MonkeyPatch.context() as patch:
        switches.no_hello_mac(patch)
        assert platform_run.check_hello is not honest
    assert platform_run.check_hello is honest


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", [1, 2])
def test_every_schedule_with_time_and_a_restart(suite: int) -> None:
    """Two runs of two devices, 31 s and a restart of the service, RETRY and up to three swapped fields at once."""
    devices = ((suite, A), (suite, A), (suite, B), (suite, B))
    game = Handshakes(Plan("all", devices, swaps=3, times=2, retry=True))
    found = explore(game, most=3_000_000)
    assert not found.broken, f"{found.broken}: {shown(found)}"
    say(f"suite {suite}, deep: {found.visited} distinct states visited (all: {found.complete}), no attack")
    assert found.visited >= 10 * LEAST
