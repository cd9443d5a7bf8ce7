"""What the link refuses, one test for each branch that no other test is named after."""

from __future__ import annotations

import pytest

from meterseal.errors import PeerError
from meterseal.link import messages
from tests.link.vectors import SUITES


def refused(code: str, act: object) -> None:
    assert callable(act)
    with pytest.raises(PeerError) as caught:
        act()
    assert caught.value.code == code


@pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])
def test_a_message_that_begins_with_no_session_id_has_none(run: object) -> None:
    for message in (run.hello, run.platform, messages.retry(bytes(16))):  # type: ignore[attr-defined]
        refused("link.header", lambda message=message: messages.session_id_of(message))
    for kind in (messages.DEVICE, messages.SESSION):
        short = messages.MAGIC + bytes((kind, 0, 7)) + bytes(7)
        refused("link.header", lambda short=short: messages.session_id_of(short))
        whole = messages.MAGIC + bytes((kind, 0, 8)) + bytes(range(8))
        assert messages.session_id_of(whole) == bytes(range(8))


@pytest.mark.parametrize("size", [0, 1, 15, 17, 24, 31])
def test_a_sealed_part_that_is_no_whole_blocks_is_refused(size: int) -> None:
    """Behind the session id comes at least one block, then the tag."""
    for kind in (messages.DEVICE, messages.SESSION):
        body = bytes(messages.ID + size + messages.TAG)
        message = messages.MAGIC + bytes((kind,)) + len(body).to_bytes(2, "big") + body
        refused("link.length", lambda message=message, kind=kind: messages.parse_sealed(message, kind))
