"""What a new session tells about the words of its device: which are confirmed by it, and which must be made anew.

A key counts as delivered when the module shook hands under it, a certificate when the security service saw it; REKEY when
there is a session. A command authorised under the module's former key is authorised again: same order, same number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from msgspec.structs import replace

from meterseal.errors import EngineError, MetersealError
from meterseal.headend.ports import StoredSession
from meterseal.link import control
from meterseal.security.messages import DeviceFacts
from meterseal.security.orders import Authorised, OfficerSignature
from meterseal.things.words import DownWords, Word

log = structlog.get_logger()


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def device_facts(self, device_id: bytes, module_id: bytes = b"") -> DeviceFacts: ...

    async def authorise_command(self, order: bytes, signatures: list[OfficerSignature]) -> Authorised: ...


Again = Callable[[Word], Awaitable[Authorised]]
"""Has a command of a bulk order authorised anew."""


class Confirming:
    """Settles words by sessions."""

    def __init__(self, words: DownWords, service: Service, again: Again) -> None:
        self._words = words
        self._again = again
        self._service = service

    async def made(self, session: StoredSession) -> None:
        """A session was stored. A service that is away only delays what it would confirm, until the next session."""
        opened = [one for one in self._words.opened(session.device_id) if one[3].down.kind != "request"]
        if not opened:
            return
        try:
            facts = await self._service.device_facts(session.device_id, session.module_id)
            for word_id, state, sent_in, word in opened:
                anew = state == "sent" and sent_in != session.session_id
                await self._judge(word_id, word, session, facts, anew=anew)
        except EngineError as error:
            log.warning("words.unconfirmed", code=error.code)

    async def _judge(
        self, word_id: int, word: Word, session: StoredSession, facts: DeviceFacts, *, anew: bool
    ) -> None:
        down = word.down
        if word.module_id and word.module_id != session.module_id:
            self._words.end([word_id], "withdrawn")
        elif down.kind == "guarded" and word.key_version != facts.key_version:
            await self._authorise(word_id, word)
        elif (
            (down.kind == "rekey" and anew)
            or (down.kind == "key" and facts.key_version >= down.content[0])
            or (down.kind == "cert" and facts.chain and facts.chain[0] == control.read_cert(down.content)[0])
        ):
            self._words.end([word_id], "done")

    async def _authorise(self, word_id: int, word: Word) -> None:
        signatures = [OfficerSignature(officer, signature) for officer, signature in word.signatures]
        try:
            if word.bulk_id:
                given = await self._again(word)
            else:
                given = await self._service.authorise_command(word.order, signatures)
        except EngineError:
            raise
        except MetersealError as error:
            # Its time is over, its officer left, or its module was replaced: the old authorisation is worth nothing.
            log.warning("words.withdrawn", code=error.code)
            self._words.end([word_id], "withdrawn")
            return
        down = replace(
            word.down, number=given.number, not_after=given.not_after, authorisation=given.authorisation
        )
        self._words.reword(word_id, replace(word, down=down, key_version=given.key_version))
