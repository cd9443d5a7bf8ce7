"""An enrolled system to attack: made once, copied for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.attacks.whole import SUITES, Device, Template, Whole, make_template, running


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("attacked") / "system")


@pytest.fixture
async def whole(template: Template, tmp_path: Path) -> AsyncIterator[Whole]:
    async with running(template, tmp_path / "run") as made:
        yield made


@pytest.fixture
def devices(template: Template) -> dict[bytes, Device]:
    """Every device with a module, powered on; none has a session yet."""
    return {device_id: Device(device_id, template.memories[device_id], Random(1)) for device_id in SUITES}
