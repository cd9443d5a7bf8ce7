"""The street's modules are paired with their devices (HM-8.5.4.f)."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.edge import making
from meterseal.edge.apdu import Sw
from meterseal.edge.memories import Memories
from meterseal.errors import TrustError
from meterseal.kit import factory
from meterseal.kit.plan import make_plan
from tests.edge.platform import NOW, Platform
from tests.kit.test_replay import personalisation


def test_a_module_of_the_street_works_in_its_own_meter_alone(tmp_path: Path) -> None:
    platform = Platform()
    made = factory.manufacture(tmp_path, make_plan(until=NOW, dwellings=1, days=1))
    making.personalise(tmp_path, [personalisation(platform, one) for one in made])
    memories = Memories(tmp_path)
    assert memories.chip(made[0].module_id, made[0].device_id).hello(NOW)
    for device_id in (made[1].device_id, b""):
        stranger = memories.chip(made[0].module_id, device_id)
        with pytest.raises(TrustError) as refused:
            stranger.hello(NOW)
        assert refused.value.facts["word"] == Sw.SECURITY
    assert memories.chip(made[0].module_id).state().foreign == 1
    memories.close()
