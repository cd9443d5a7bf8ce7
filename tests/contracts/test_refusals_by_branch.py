"""The note-taker of refusals (`refusals`): what it counts as a place that refuses, and what it sees of one."""

from __future__ import annotations

import ast

import pytest

from meterseal.crypto import symmetric
from meterseal.errors import PeerError, TrustError
from meterseal.link import messages
from tests.contracts import refusals
from tests.contracts.refusals import RECORDER, Site, excused, missing, sites

SOURCE = """
def f():
    try:
        raise A('a')
    except A as error:
        raise
    raise error
    refuse('b')
"""


def test_every_package_has_places_that_refuse_and_each_is_one_statement() -> None:
    found = sites()
    assert {site.file.split("/")[0] for site in found} == set(refusals.PACKAGES)
    assert len(found) > 300
    assert all(site.first <= site.last for site in found)
    refusing = [
        site for site in found if (site.file, site.where) == ("crypto/certificates.py", "verify_chain")
    ]
    assert len(refusing) == 3  # calls of a helper that only raises


def test_a_refusal_is_noted_at_its_branch_and_not_at_the_helper_alone() -> None:
    with pytest.raises(PeerError):
        messages.parse_retry(messages.MAGIC + bytes((messages.RETRY, 0, 1, 7)))
    (branch,) = [site for site in sites() if site.where == "parse_retry"]
    assert RECORDER.test in RECORDER.met[branch.file, branch.first]
    assert RECORDER.test.endswith("not_at_the_helper_alone")


def test_a_refusal_that_is_caught_inside_is_noted_as_well() -> None:
    (branch,) = [site for site in sites() if site.where == "pad80" or "unpad80" in site.where]
    with pytest.raises(TrustError):
        symmetric.unpad80(bytes(16))
    assert RECORDER.test in {
        test for at in range(branch.first, branch.last + 1) for test in RECORDER.met[branch.file, at]
    }


def test_a_place_that_nobody_met_or_only_a_general_test_is_missing() -> None:
    known = set(excused())
    places = [site for site in sites() if (site.file, site.where, site.text) not in known]
    assert missing({}) == [site for site in sites() if site in places or excused()[site[:3]][1]]
    one, other, *rest = places
    met = {(site.file, site.last): {"tests/link/test_x.py::test_y"} for site in rest}
    met[one.file, one.first] = {"tests/link/search/test_search.py::test_any"}
    assert {one, other} <= set(missing(met)) or one.first == other.first
    met[one.file, one.first] = {"tests/link/test_x.py::test_it"}
    assert one not in missing(met)


def test_every_excused_place_is_still_there_and_has_a_reason() -> None:
    there = {site[:3] for site in sites()}
    assert set(excused()) <= there
    assert all(len(reason) > 20 for reason, _ in excused().values())


def test_what_is_handed_on_is_no_place_of_its_own() -> None:
    found: list[Site] = []
    refusals._look(ast.parse(SOURCE), "x.py", "", {"refuse"}, found)
    assert [(site.first, site.where, site.text) for site in found] == [
        (4, "f", "raise A('a')"),
        (8, "f", "refuse('b')"),
    ]
