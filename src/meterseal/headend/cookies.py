"""Cookies of RETRY: whoever asked shows that it receives where it says it is, before anything is done for it.

Nothing is kept per source: the cookie is a keyed hash of source and HELLO under a secret that changes (LINK section 3).
"""

from __future__ import annotations

from collections.abc import Callable

from meterseal.link import messages

GENERATION = 5 * 60_000
"""Milliseconds after which a new secret is made; the one before still counts, so a cookie lives 5 to 10 minutes. Behind a
concentrator an answer takes its time on the bus; a cookie that is too old gets a new RETRY."""
SECRET = 32


class Cookies:
    """The rotating secret in two generations; `random` gives that many random bytes."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._secrets: tuple[bytes, ...] = ()
        self._since = 0

    def retry(self, source: str, hello: messages.Hello, now: int) -> bytes:
        """The RETRY for this HELLO from there."""
        return messages.retry(messages.cookie_for(self._kept(now)[0], source.encode(), hello))

    def good(self, source: str, hello: messages.Hello, now: int) -> bool:
        """Does the HELLO carry a cookie that was given to this source for it?"""
        return bool(hello.cookie) and messages.cookie_holds(self._kept(now), source.encode(), hello)

    def _kept(self, now: int) -> tuple[bytes, ...]:
        age = now - self._since
        if not self._secrets or not 0 <= age < GENERATION:
            # After two silent generations (or a clock that fell) the last secret is too old as well.
            kept = self._secrets[:1] if 0 <= age < 2 * GENERATION else ()
            self._secrets = (self._random(SECRET), *kept)
            self._since = now
        return self._secrets

    def __repr__(self) -> str:
        return f"<cookies, {len(self._secrets)} generations>"
