"""Attacks on sign-in: links, sessions and passwords, each named after what it tries."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.tables import accounts, customers, sign_in_links, web_sessions
from meterseal.errors import DataError, LocalError, MetersealError, TrustError
from meterseal.people import accounts as station
from meterseal.people import password, tokens
from meterseal.people.accounts import Accounts
from tests.control_store import control_at

NOW = 1_795_225_200_000
HOUR = 3_600_000
QUICK = password.Stretch(bytes(range(16)), passes=1, memory_kib=64, lanes=1)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    made = control_at(tmp_path / "control.db")
    with write(made) as db:
        db.execute(customers.insert().values(id="c1", created_at=NOW))
    return made


@pytest.fixture
def people(engine: sa.Engine) -> Accounts:
    return Accounts(engine)


def refusal(call, *arguments) -> MetersealError:
    with pytest.raises(MetersealError) as caught:
        call(*arguments)
    return caught.value


def test_a_link_opens_one_session_for_its_account(people: Accounts) -> None:
    name = people.create("resident", NOW, customer_id="c1", locale="en")
    opened = people.redeem(people.make_link(name, NOW), NOW)
    subject = people.subject(opened.session, NOW)
    assert (subject.account_id, subject.role, subject.customer_id, subject.locale) == (
        name,
        "resident",
        "c1",
        "en",
    )
    assert opened.role == "resident"
    assert not subject.has_password


def test_attack_use_a_link_twice(people: Accounts) -> None:
    token = people.make_link(people.create("operator", NOW), NOW)
    people.redeem(token, NOW)
    assert refusal(people.redeem, token, NOW).code == "people.link"


def test_attack_use_a_link_after_its_time(people: Accounts) -> None:
    token = people.make_link(people.create("operator", NOW), NOW, HOUR)
    assert refusal(people.redeem, token, NOW + HOUR).code == "people.link"
    assert people.redeem(token, NOW + HOUR - 1).role == "operator"


@pytest.mark.parametrize("token", ["", "x", "é" * 43, "A" * 43, "A" * 44, "=" * 43, "-" * 4096])
def test_attack_invent_a_link(people: Accounts, token: str) -> None:
    people.make_link(people.create("operator", NOW), NOW)
    assert refusal(people.redeem, token, NOW).code == "people.link"
    assert refusal(people.subject, token, NOW).code == "people.session"


def test_attack_use_a_link_as_a_session_and_the_other_way_round(people: Accounts) -> None:
    name = people.create("operator", NOW)
    token = people.make_link(name, NOW)
    session = people.redeem(people.make_link(name, NOW), NOW).session
    assert refusal(people.subject, token, NOW).code == "people.session"
    assert refusal(people.redeem, session, NOW).code == "people.link"


def test_attack_read_tokens_out_of_a_stolen_database(people: Accounts, engine: sa.Engine) -> None:
    name = people.create("operator", NOW)
    waiting = people.make_link(name, NOW)
    session = people.redeem(people.make_link(name, NOW), NOW).session
    people.set_password(session, QUICK, password.verifier("correct horse battery", QUICK), NOW)
    engine.dispose()
    path = str(engine.url.database)
    sqlite3.connect(path).execute("pragma wal_checkpoint(truncate)")
    stolen = Path(path).read_bytes()
    for secret in (waiting.encode(), session.encode(), password.verifier("correct horse battery", QUICK)):
        assert secret not in stolen


def test_attack_sign_in_with_the_stored_password_text(people: Accounts, engine: sa.Engine) -> None:
    name = people.create("operator", NOW)
    session = people.redeem(people.make_link(name, NOW), NOW).session
    people.set_password(session, QUICK, password.verifier("correct horse battery", QUICK), NOW)
    with read(engine) as db:
        text = db.scalar(sa.select(accounts.c.password_hash).filter_by(id=name))
    digest = password.parse(text)[1]
    assert refusal(people.sign_in, name, digest, NOW).code == "people.sign-in"


def test_a_password_signs_in_and_a_wrong_one_does_not(people: Accounts) -> None:
    name = people.create("operator", NOW)
    session = people.redeem(people.make_link(name, NOW), NOW).session
    people.set_password(session, QUICK, password.verifier("correct horse battery", QUICK), NOW)
    stretch = people.stretch(name)
    assert stretch == QUICK
    opened = people.sign_in(name, password.verifier("correct horse battery", stretch), NOW)
    assert people.subject(opened.session, NOW).has_password
    assert (
        refusal(people.sign_in, name, password.verifier("correct horse batter", stretch), NOW).code
        == "people.sign-in"
    )


def test_attack_find_out_which_names_exist(people: Accounts) -> None:
    known = people.create("operator", NOW)
    session = people.redeem(people.make_link(known, NOW), NOW).session
    people.set_password(session, password.Stretch(b"s" * 16), b"v" * 32, NOW)
    bare = people.create("operator", NOW)
    forms = {name: people.stretch(name) for name in (known, bare, "o-unknown")}
    assert len({(s.passes, s.memory_kib, s.lanes, len(s.salt)) for s in forms.values()}) == 1
    assert forms["o-unknown"] == people.stretch("o-unknown"), "the salt of an unknown name must not flicker"
    said = {str(refusal(people.sign_in, name, b"w" * 32, NOW)) for name in forms}
    assert len(said) == 1


def test_attack_guess_a_password_many_times(people: Accounts) -> None:
    name = people.create("operator", NOW)
    session = people.redeem(people.make_link(name, NOW), NOW).session
    people.set_password(session, QUICK, b"v" * 32, NOW)
    for number in range(station.TRIES):
        assert refusal(people.sign_in, name, bytes([number]) * 32, NOW + number).code == "people.sign-in"
    assert refusal(people.sign_in, name, b"v" * 32, NOW + 60_000).code == "people.too-many"
    assert people.redeem(people.make_link(name, NOW), NOW).role == "operator", "a link still opens"
    assert people.sign_in(name, b"v" * 32, NOW + station.TRIES_WITHIN + HOUR).role == "operator"


def test_attack_fill_the_memory_with_failed_names(people: Accounts) -> None:
    for number in range(station._TRACKED + 50):
        people._note_failure(f"o-{number}", NOW)
    assert len(people._failures) == station._TRACKED


def test_attack_keep_a_session_after_sign_out_expiry_or_shutdown(people: Accounts, engine: sa.Engine) -> None:
    name = people.create("operator", NOW)

    def opened() -> str:
        return people.redeem(people.make_link(name, NOW), NOW).session

    left, late, shut = opened(), opened(), opened()
    people.sign_out(left)
    assert refusal(people.subject, left, NOW).code == "people.session"
    end = NOW + station.SESSION_LIFETIME["operator"]
    assert people.subject(late, end - 1).account_id == name
    assert refusal(people.subject, late, end).code == "people.session"
    waiting = people.make_link(name, NOW)
    people.disable(name, NOW)
    assert refusal(people.subject, shut, NOW).code == "people.session"
    assert refusal(people.redeem, waiting, NOW).code == "people.link"
    assert refusal(people.make_link, name, NOW).code == "people.no-account"
    with read(engine) as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(sign_in_links)) == 0


def test_attack_stay_in_after_the_owner_changed_the_password(people: Accounts, engine: sa.Engine) -> None:
    name = people.create("operator", NOW)
    thief = people.redeem(people.make_link(name, NOW), NOW).session
    waiting = people.make_link(name, NOW)
    owner = people.redeem(people.make_link(name, NOW), NOW).session
    people.set_password(owner, QUICK, b"v" * 32, NOW)
    assert people.subject(owner, NOW).has_password
    assert refusal(people.subject, thief, NOW).code == "people.session"
    assert refusal(people.redeem, waiting, NOW).code == "people.link"
    with read(engine) as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(web_sessions)) == 1


def test_attack_set_a_password_without_a_session(people: Accounts) -> None:
    assert refusal(people.set_password, tokens.new_token(), QUICK, b"v" * 32, NOW).code == "people.session"


def test_verifiers_and_salts_of_a_wrong_size_are_refused(people: Accounts) -> None:
    session = people.redeem(people.make_link(people.create("operator", NOW), NOW), NOW).session
    for stretch, proof in ((QUICK, b"short"), (password.Stretch(b"short"), b"v" * 32)):
        with pytest.raises(DataError, match="form"):
            people.set_password(session, stretch, proof, NOW)


def test_roles_languages_and_customers_are_checked(people: Accounts) -> None:
    assert refusal(people.create, "resident", NOW).code == "people.role"
    with pytest.raises(LocalError) as caught:
        people.create("operator", NOW, customer_id="c1")
    assert caught.value.code == "people.role"
    with pytest.raises(LocalError) as caught:
        people.create("operator", NOW, locale="tlh")
    assert caught.value.code == "people.locale"
    with pytest.raises(LocalError) as caught:
        people.create("resident", NOW, customer_id="nobody")
    assert caught.value.code == "people.no-customer"
    first = people.create("resident", NOW, customer_id="c1")
    second = people.create("resident", NOW + 1, customer_id="c1")
    assert people.find("resident", "c1") == [first, second]
    people.disable(first, NOW)
    assert people.find("resident") == [second]


def test_weak_passwords_are_refused_by_length_alone() -> None:
    assert refusal(password.check_strength, "elevenchars").code == "people.password-short"
    assert refusal(password.check_strength, "x" * 257).code == "people.password-long"
    password.check_strength("梧桐更兼细雨到黄昏点点滴")


def test_every_refusal_to_sign_in_by_link_reads_the_same(people: Accounts) -> None:
    name = people.create("operator", NOW)
    used, late = people.make_link(name, NOW), people.make_link(name, NOW, HOUR)
    people.redeem(used, NOW)
    said = {
        (type(e), e.code, str(e))
        for e in (refusal(people.redeem, t, NOW + 2 * HOUR) for t in (used, late, "no"))
    }
    assert len(said) == 1
    assert next(iter(said))[0] is TrustError
