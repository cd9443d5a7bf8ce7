"""Acts of the root killed between any two of their writes: what starts again is before the act or after it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from meterseal.crypto.certificates import parse
from meterseal.errors import MetersealError
from meterseal.security import offline
from meterseal.security import rootorders as r
from meterseal.security.store import Store

from .conftest import PASSPHRASE, Bench
from .people import HOUR, fields, founded, operator
from .test_quorum import PEOPLE, SHARES, ask_for, begun, hand_in, kept, order, shared


class Images:
    """The keys directory as a kill would leave it: one image before and after each write of what is done meanwhile.

    Shared commits of use counts and audit entries are no moments of their own: they decide nothing.
    """

    def __init__(self, directory: Path, to: Path) -> None:
        self.directory, self.to, self.taken = directory, to, 0

    def take(self) -> None:
        shutil.copytree(self.directory, self.to / str(self.taken))
        self.taken += 1

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        images, transaction, flush, counting = self, Store.transaction, Store.flush, False

        def counted(store: Store) -> None:
            nonlocal counting
            counting = True
            flush(store)
            counting = False

        @contextlib.contextmanager
        def watched(store: Store) -> Iterator[sqlite3.Connection]:
            with transaction(store) as connection:
                yield connection
            if not counting:
                images.take()

        def after(write: Callable[..., None]) -> Callable[..., None]:
            def run(*given: object) -> None:
                write(*given)
                images.take()

            return run

        self.take()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "transaction", watched)
            patch.setattr(Store, "flush", counted)
            patch.setattr(offline, "replace", after(offline.replace))
            patch.setattr(offline, "put_in_force", after(offline.put_in_force))
            yield

    async def each(self, bench: Bench, look: Callable[[Bench], Awaitable[str]]) -> list[str]:
        """What `look` says of a service that starts from each image."""
        found = []
        for number in range(self.taken):
            again = Bench(self.to / str(number), bench.clock)
            try:
                found.append(await look(again))
            finally:
                again.service.close()
        return found


@pytest.fixture
def images(bench: Bench, tmp_path: Path) -> Images:
    return Images(bench.directory, tmp_path / "images")


def settled(bench: Bench) -> None:
    """The keys in the vault are in the state that the certificates ask for, and the platform stands on the newest CA."""
    room = bench.service.room
    states = {(one.id, one.version): one.state for one in room.authorities.all_facts()}
    for purpose, key_id in (("platform", "PLATFORM-CA"), ("device", "DEVICE-CA")):
        kept_open = room.pki.authorities(purpose)  # type: ignore[arg-type]
        for version in room.pki.versions(purpose):  # type: ignore[arg-type]
            newest = version == max(kept_open)
            wanted = "active" if newest else "retiring" if version in kept_open else "withdrawn"
            assert states[key_id, version] == wanted
    identity = room.pki.platform(bench.clock.now)
    assert parse(identity.chain[0]).issuer_key_id == parse(room.pki.chain("platform")).key_id
    usable = [one for one in room.authorities.all_facts() if one.id == "PLATFORM" and one.state == "active"]
    assert [one.version for one in usable] == [identity.version]


async def close_first(bench: Bench) -> None:
    request = r.CloseAuthority(**fields(bench.clock.now + HOUR), authority="device", version=1)  # type: ignore[arg-type]
    await order(bench, "ca-close", request, PEOPLE[:2])
    await operator(bench).open_root(PASSPHRASE)


async def test_closing_a_ca(bench: Bench, images: Images) -> None:
    await founded(bench, *PEOPLE)
    await ask_for(bench)
    await operator(bench).open_root(PASSPHRASE)
    with images.watching():
        await close_first(bench)

    async def look(again: Bench) -> str:
        settled(again)
        room = again.service.room
        assert (1 in room.pki.authorities("device")) == (
            room.authorities.facts("DEVICE-CA", 1).state == "retiring"
        )
        if 1 not in room.pki.authorities("device"):
            return "done"
        await close_first(again)
        settled(again)
        return "not done, and done when ordered again"

    found = await images.each(bench, look)
    assert set(found) == {"done", "not done, and done when ordered again"}
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("authority", ["device", "platform"])
async def test_a_new_ca(bench: Bench, images: Images, authority: str) -> None:
    await founded(bench, *PEOPLE)
    await ask_for(bench, authority)
    with images.watching():
        await operator(bench).open_root(PASSPHRASE)

    async def look(again: Bench) -> str:
        settled(again)
        version = again.service.room.pki.version(authority)  # type: ignore[arg-type]
        await ask_for(again, authority)
        await operator(again).open_root(PASSPHRASE)
        settled(again)
        return "done" if version == 2 else "not done"

    found = await images.each(bench, look)
    assert set(found) == {"done", "not done"}
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("renewed", [False, True], ids=["first", "renewal"])
async def test_a_new_quorum(bench: Bench, images: Images, renewed: bool) -> None:
    """From the dealing to the last holder's word, one way in opens the root at every moment, and only one."""
    before: SHARES | None = None
    if renewed:
        before = await shared(bench)
    else:
        await founded(bench, *PEOPLE)
    with images.watching():
        new = await begun(bench, 2, PEOPLE, None if before is None else {n: before[n] for n in ("an", "bo")})
        for person in PEOPLE:
            await kept(bench, person, new[person.officer])

    async def opens(again: Bench, shares: SHARES | None) -> bool:
        await ask_for(again)
        try:
            if shares is None:
                await operator(again).open_root(PASSPHRASE)
            else:
                await hand_in(again, shares, "bo", "cy")
        except MetersealError:
            return False
        return True

    async def look(again: Bench) -> str:
        ways = [await opens(again, before), await opens(again, new)]
        assert sum(ways) == 1
        top = again.service.room.keys.facts("ROOT", 1).state
        assert top == ("destroyed" if before is not None or ways[1] else "active")
        return "new" if ways[1] else "before"

    found = await images.each(bench, look)
    assert set(found) == {"before", "new"}
    assert found == sorted(found)
