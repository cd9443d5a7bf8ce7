"""One word of a kind is under way for a concentrator: what keeps a word without its answer holds up all others."""

from __future__ import annotations

from meterseal.app.commanding import ReadMeter
from meterseal.things.words import Outcome
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.roster import Listed
from tests.scenarios.small_system import HOUR, MASTER
from tests.scenarios.small_system import WATER as SEALED
from tests.scenarios.test_words_to_plain_meters import GAS, POWER, WATER, Riser, cheap_stretching, system

__all__ = ["cheap_stretching", "system"]


async def test_a_sealed_meter_that_cannot_be_listed_is_refused_and_holds_up_nobody(system: Riser) -> None:
    """Its concentrator says so in the name of a meter that is not plain behind it."""
    assert (await system.done(SEALED, "roster-seal", bus="9")).state == "refused"
    assert (await system.done(WATER, "valve-close")).state == "done"


async def test_a_word_to_a_meter_that_its_concentrator_was_not_told_of_holds_up_nobody(system: Riser) -> None:
    """Else the very word that tells the concentrator waits behind it, for as long as the order lasts."""
    for device_id in (WATER, POWER):
        assert system.concentrator.relist(device_id, Listed("remove"), system.clock.now)
    assert (await system.done(WATER, "valve-close")).state == "refused"
    assert (await system.done(POWER, "freeze")).state == "refused"
    read = ReadMeter(
        device_id=MASTER,
        frame=encode.read_request(WATER, ids.METERING, 7).encode(),
        not_after=system.clock.now + HOUR,
    )
    assert (await system.until_ended(await system.desk.call("read_meter", read, Outcome))).state == "refused"
    assert (await system.done(GAS, "valve-close")).state == "done"
    assert (await system.done(WATER, "roster-add", bus="0")).state == "done"
    assert (await system.done(WATER, "valve-close")).state == "done"
