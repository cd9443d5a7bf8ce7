"""RETRY at the device: the same HELLO again with its cookie, through bus and concentrator, and no more than that."""

from __future__ import annotations

import os

from meterseal.headend.cookies import GENERATION, Cookies
from meterseal.link import messages
from tests.edge.field import Field
from tests.edge.platform import Platform

WATER = bytes.fromhex("1078330011223301")


class Doubting(Platform):
    """Believes nobody who has not shown a cookie; `wrong` hands out cookies of another source."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies = Cookies(os.urandom)
        self.hellos_heard: list[bytes] = []
        self.wrong = False

    def receive(self, message: bytes) -> list[bytes]:
        if message[:4] == b"MS\x01\x01":
            self.hellos_heard.append(message)
            hello = messages.parse_hello(message)
            if not self.cookies.good("a way", hello, self.now):
                source = "another way" if self.wrong else "a way"
                return [self.cookies.retry(source, hello, self.now)]
        return super().receive(message)


def test_a_meter_and_its_concentrator_answer_retry_and_deliver_everything() -> None:
    platform = Doubting()
    field = Field([[WATER]], days=1, platform=platform)
    field.run(4_000)
    assert field.done()
    field.check_complete()
    bare = {messages.parse_hello(one).canonical() for one in platform.hellos_heard}
    carried = [messages.parse_hello(one).cookie for one in platform.hellos_heard]
    assert len(bare) == 2  # one HELLO each of meter and concentrator, with a cookie the second time
    assert sorted(map(len, carried)) == [0, 0, 16, 16]


def test_a_cookie_that_grew_old_gets_another_one() -> None:
    platform = Doubting()
    field = Field([[WATER]], days=1, platform=platform)
    field.run(30, until_done=False)
    platform.cookies = Cookies(os.urandom)
    field.now += 2 * GENERATION
    field.run(6_000)
    assert field.done()


def test_retry_without_end_makes_a_device_send_eight_times_and_then_begin_anew() -> None:
    platform = Doubting()
    platform.wrong = True
    field = Field([[WATER]], days=1, platform=platform)
    field.run(1_000, until_done=False)
    bare = [messages.parse_hello(one).canonical() for one in platform.hellos_heard]
    assert len(set(bare)) > 2
    assert max(bare.count(one) for one in bare) <= 8
    assert field.nodes[WATER].secured is not None
    secured = field.nodes[WATER].secured
    assert secured is not None
    assert secured.agent.phase in ("calling", "silent")
