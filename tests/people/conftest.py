"""One town for all tests of the people's side; a test that moves its clock puts it back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.people.town import NOW, Town


@pytest.fixture(scope="package")
def whole_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    async def build() -> Town:
        made = Town(tmp_path_factory.mktemp("town"))
        await made.build()
        await made.mdms.close()
        return made

    made = asyncio.run(build())
    yield made
    made.engine.dispose()


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    yield whole_town
    whole_town.now = NOW
