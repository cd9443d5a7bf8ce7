"""Accounts of residents and operators: one-time links, sessions and passwords over the control store.

It does not decide what an account may see (scope) and never holds a password or a token, only hashes of them.

Every refusal to sign in is the same TrustError, whatever the reason: unknown, used, expired or disabled.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.tables import accounts, agreements, customers, sign_in_links, web_sessions
from meterseal.crypto.symmetric import hmac_sm3
from meterseal.errors import LocalError, TrustError
from meterseal.people import password, tokens
from meterseal.people.messages import Role, SignedIn

HOUR = 3_600_000
LINK_LIFETIME = 72 * HOUR
SESSION_LIFETIME: dict[Role, int] = {"resident": 30 * 24 * HOUR, "operator": 12 * HOUR}
LOCALES = ("zh_Hans_CN", "en")
TRIES = 10
TRIES_WITHIN = HOUR // 4
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_TRACKED = 4096


class Subject(Struct, frozen=True):
    """Who a session speaks for. `customer_id` is set for residents."""

    account_id: str
    role: Role
    customer_id: str | None
    locale: str
    has_password: bool
    expires_at: int


class Accounts:
    """Operations on accounts; `engine` is the open control store, `now` Unix milliseconds."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._unknown = secrets.token_bytes(32)
        self._failures: OrderedDict[str, list[int]] = OrderedDict()

    def create(
        self, role: Role, now: int, *, customer_id: str | None = None, locale: str = "zh_Hans_CN"
    ) -> str:
        """Make an account and return its sign-in name (such as `r-7k3mq2xp`).

        Raises LocalError `people.role` (a resident needs a customer, an operator has none), `people.locale`,
        `people.no-customer`.
        """
        if (role == "resident") != (customer_id is not None):
            raise LocalError(
                "people.role",
                "A resident's account belongs to one customer, an operator's to none. Correct the call.",
            )
        _check_locale(locale)
        name = f"{role[0]}-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
        with write(self._engine) as db:
            if customer_id is not None and not db.scalar(sa.select(customers.c.id).filter_by(id=customer_id)):
                raise LocalError(
                    "people.no-customer", f"There is no customer {customer_id}. Make the customer first."
                )
            db.execute(
                accounts.insert().values(
                    id=name, role=role, customer_id=customer_id, locale=locale, created_at=now
                )
            )
        return name

    def find(self, role: Role, customer_id: str | None = None) -> list[str]:
        """Sign-in names of the enabled accounts of a role (of one customer), oldest first."""
        query = sa.select(accounts.c.id).where(accounts.c.role == role, accounts.c.disabled_at.is_(None))
        if customer_id is not None:
            query = query.where(accounts.c.customer_id == customer_id)
        with read(self._engine) as db:
            return list(db.scalars(query.order_by(accounts.c.created_at, accounts.c.id)))

    def disable(self, account_id: str, now: int) -> None:
        """Shut an account: its sessions and links end with it."""
        with write(self._engine) as db:
            db.execute(accounts.update().where(accounts.c.id == account_id).values(disabled_at=now))
            db.execute(web_sessions.delete().where(web_sessions.c.account_id == account_id))
            db.execute(sign_in_links.delete().where(sign_in_links.c.account_id == account_id))

    def make_link(self, account_id: str, now: int, lifetime: int = LINK_LIFETIME) -> str:
        """Return the token of a new one-time link; LocalError `people.no-account` for an unknown or
        disabled account.
        """
        token = tokens.new_token()
        with write(self._engine) as db:
            if not db.scalar(sa.select(accounts.c.id).where(accounts.c.id == account_id, _enabled())):
                raise LocalError(
                    "people.no-account", f"There is no open account {account_id}. Make one first."
                )
            db.execute(sign_in_links.delete().where(sign_in_links.c.expires_at <= now))
            db.execute(
                sign_in_links.insert().values(
                    token_hash=tokens.token_hash(tokens.LINK, token),
                    account_id=account_id,
                    expires_at=now + lifetime,
                )
            )
        return token

    def redeem(self, token: str, now: int) -> SignedIn:
        """Spend a one-time link and open a session. Raises TrustError `people.link`."""
        found = tokens.token_hash(tokens.LINK, token)
        with write(self._engine) as db:
            spent = db.execute(
                sign_in_links.update()
                .where(
                    sign_in_links.c.token_hash == found,
                    sign_in_links.c.used_at.is_(None),
                    sign_in_links.c.expires_at > now,
                )
                .values(used_at=now)
                .returning(sign_in_links.c.account_id)
            ).scalar()
            opened = self._open(db, spent, now) if spent else None
        if opened is None:
            raise TrustError(
                "people.link",
                "This sign-in link was used before, has expired or was never issued. Ask your "
                "utility for a new one.",
            )
        return opened

    def _open(self, db: sa.Connection, account_id: str, now: int) -> SignedIn | None:
        row = db.execute(sa.select(accounts).where(accounts.c.id == account_id, _enabled())).one_or_none()
        if row is None:
            return None
        token = tokens.new_token()
        role: Role = row.role
        expires_at = now + SESSION_LIFETIME[role]
        db.execute(web_sessions.delete().where(web_sessions.c.expires_at <= now))
        db.execute(
            web_sessions.insert().values(
                token_hash=tokens.token_hash(tokens.SESSION, token),
                account_id=account_id,
                created_at=now,
                expires_at=expires_at,
            )
        )
        return SignedIn(token, role, row.locale, expires_at)

    def subject(self, session: str, now: int) -> Subject:
        """Who a session speaks for. Raises TrustError `people.session` when it is over or never was."""
        query = (
            sa.select(accounts, web_sessions.c.expires_at)
            .join(web_sessions, web_sessions.c.account_id == accounts.c.id)
            .where(
                web_sessions.c.token_hash == tokens.token_hash(tokens.SESSION, session),
                web_sessions.c.expires_at > now,
                _enabled(),
            )
        )
        with read(self._engine) as db:
            row = db.execute(query).one_or_none()
        if row is None:
            raise TrustError("people.session", "You are signed out. Sign in again to go on.")
        has_password = row.password_hash is not None
        return Subject(row.id, row.role, row.customer_id, row.locale, has_password, row.expires_at)

    def sign_out(self, session: str) -> None:
        """End a session; an unknown one is already over."""
        with write(self._engine) as db:
            hashed = tokens.token_hash(tokens.SESSION, session)
            db.execute(web_sessions.delete().where(web_sessions.c.token_hash == hashed))

    def set_locale(self, account_id: str, locale: str) -> None:
        """Remember the language of an account. Raises LocalError `people.locale`."""
        _check_locale(locale)
        with write(self._engine) as db:
            db.execute(accounts.update().where(accounts.c.id == account_id).values(locale=locale))

    # --- passwords ---------------------------------------------------------------------------------------

    def stretch(self, name: str) -> password.Stretch:
        """Salt and costs for a sign-in name; a name without a password gets a steady salt of its own, as
        if it had.
        """
        text = self._password_of(name)
        if text is None:
            return password.Stretch(hmac_sm3(self._unknown, name.encode())[: password.SALT])
        return password.parse(text)[0]

    def sign_in(self, name: str, verifier: bytes, now: int) -> SignedIn:
        """Open a session by a verifier. Raises TrustError `people.sign-in`, or `people.too-many` after
        many failures.
        """
        self._check_tries(name, now)
        text = self._password_of(name)
        good = password.matches(text or _NEVER, verifier) and text is not None
        if good:
            with write(self._engine) as db:
                opened = self._open(db, name, now)
            if opened is not None:
                self._failures.pop(name, None)
                return opened
        self._note_failure(name, now)
        raise TrustError(
            "people.sign-in",
            "Name and password do not belong together, or this account has no password. Try again or "
            "use a sign-in link.",
        )

    def set_password(self, session: str, stretch: password.Stretch, verifier: bytes, now: int) -> None:
        """Set the password of the session's account; its other sessions and unused links end.

        Raises TrustError `people.session`, DataError `people.password-form`.
        """
        subject = self.subject(session, now)
        text = password.stored(stretch, verifier)
        mine = tokens.token_hash(tokens.SESSION, session)
        with write(self._engine) as db:
            db.execute(
                accounts.update().where(accounts.c.id == subject.account_id).values(password_hash=text)
            )
            db.execute(
                web_sessions.delete().where(
                    web_sessions.c.account_id == subject.account_id, web_sessions.c.token_hash != mine
                )
            )
            db.execute(
                sign_in_links.delete().where(
                    sign_in_links.c.account_id == subject.account_id, sign_in_links.c.used_at.is_(None)
                )
            )

    def _password_of(self, name: str) -> str | None:
        with read(self._engine) as db:
            query = sa.select(accounts.c.password_hash).where(accounts.c.id == name, _enabled())
            text: str | None = db.scalar(query)
            return text

    def _check_tries(self, name: str, now: int) -> None:
        recent = [at for at in self._failures.get(name, ()) if at > now - TRIES_WITHIN]
        if len(recent) >= TRIES:
            raise TrustError(
                "people.too-many",
                "There were too many attempts. Wait a quarter of an hour, or use a sign-in link.",
            )

    def _note_failure(self, name: str, now: int) -> None:
        recent = [at for at in self._failures.pop(name, ()) if at > now - TRIES_WITHIN]
        self._failures[name] = [*recent, now][-TRIES:]
        while len(self._failures) > _TRACKED:
            self._failures.popitem(last=False)


def own_agreements(db: sa.Connection, customer_id: str) -> list[tuple[str, str, int, int | None]]:
    """Agreements of a customer: (id, usage_point_id, since, until), newest first."""
    query = (
        sa.select(agreements.c.id, agreements.c.usage_point_id, agreements.c.since, agreements.c.until)
        .where(agreements.c.customer_id == customer_id)
        .order_by(agreements.c.since.desc(), agreements.c.id)
    )
    return [(row.id, row.usage_point_id, row.since, row.until) for row in db.execute(query)]


def _enabled() -> sa.ColumnElement[bool]:
    return accounts.c.disabled_at.is_(None)


def _check_locale(locale: str) -> None:
    if locale not in LOCALES:
        raise LocalError(
            "people.locale", f"{locale} is not a language of the portal; use {' or '.join(LOCALES)}."
        )


_NEVER = password.stored(password.Stretch(b"\0" * password.SALT), b"\0" * password.VERIFIER)
