"""The handshake as LINK section 3 tells it: order, repeats, bound of time, clock, suites; and the attacks.

Proves HM 8.3.2.a, HM 8.3.2.b, HM 8.3.2.c, HM 8.5.1.2.a, HM 8.5.1.2.b, X 9.1.d and X 10.1.b.
"""

from __future__ import annotations

from itertools import product

import pytest
from msgspec import structs

from meterseal.crypto.certificates import issue_leaf, uri
from meterseal.errors import LocalError, TrustError
from meterseal.link import legality, messages, proving, schedule
from meterseal.link.handshake import DEVICE_MOVES, PLATFORM_MOVES, DeviceRun, Enrolment, Identity
from meterseal.link.messages import Hello
from tests.crypto.pki import DAY, Tree
from tests.link.parties import (
    DEVICE,
    MODULE,
    NOW,
    OTHER_DEVICE,
    OTHER_MODULE,
    SINCE,
    Module,
    Service,
    code_of,
    link_key,
    refuses,
    tree,
)

suites = pytest.mark.parametrize("suite", [1, 2])


@suites
def test_both_sides_end_with_the_same_session(suite: int) -> None:
    device, platform = Module(suite).run(), Service(suite).run()
    answer = device.platform(platform.begin(device.hello(NOW), NOW), NOW)
    granted = platform.finish(answer, NOW)
    session = device.session(granted.message, NOW)
    assert session.keys == granted.keys
    assert session.session_id == granted.session_id == platform.session_id
    assert (session.records_allowed, session.seconds_allowed, session.policy) == (1000, 86_400, 2)
    assert (granted.device_id, granted.module_id, granted.suite, granted.key_version) == (
        DEVICE,
        MODULE,
        suite,
        1,
    )
    assert device.phase == platform.phase == "open"


@suites
def test_each_run_has_fresh_keys(suite: int) -> None:
    seen = set()
    for _ in range(5):
        device, platform = Module(suite).run(), Service(suite).run()
        keys = platform.finish(device.platform(platform.begin(device.hello(NOW), NOW), NOW), NOW).keys
        seen |= {keys.up_enc, keys.up_mac, keys.up_iv, keys.down_enc, keys.down_mac, keys.down_iv}
    assert len(seen) == 30


@suites
def test_repeats_get_the_same_bytes(suite: int) -> None:
    device, platform = Module(suite).run(), Service(suite).run()
    hello = device.hello(NOW)
    assert device.hello(NOW + 1) == hello
    first = platform.begin(hello, NOW)
    assert platform.begin(hello, NOW + 5) == first
    answer = device.platform(first, NOW)
    assert device.platform(first, NOW + 20_000) == answer
    granted = platform.finish(answer, NOW)
    again = platform.finish(answer, NOW + 14 * 60_000)
    assert again.message == granted.message
    assert platform.begin(hello, NOW + 6) == first
    session = device.session(granted.message, NOW)
    assert device.session(granted.message, NOW + 9) == session


@suites
def test_the_device_acts_on_the_first_valid_platform_only(suite: int) -> None:
    device, service = Module(suite).run(), Service(suite)
    hello = device.hello(NOW)
    one, two = service.run(), service.run()
    first, second = one.begin(hello, NOW), two.begin(hello, NOW)
    assert first != second
    answer = device.platform(first, NOW)
    refuses("link.order", lambda: device.platform(second, NOW))
    assert device.platform(first, NOW) == answer
    refuses("link.session", lambda: two.finish(answer, NOW))
    device.session(one.finish(answer, NOW).message, NOW)


@suites
def test_after_one_valid_device_the_platform_refuses_any_other(suite: int) -> None:
    module, platform = Module(suite), Service(suite).run()
    device = module.run()
    first = platform.begin(device.hello(NOW), NOW)
    answer = device.platform(first, NOW)
    granted = platform.finish(answer, NOW)
    if suite == 1:
        twin = module.run()
        twin._hello, twin._ephemeral, twin.phase = device._hello, device._ephemeral, "greeted"
        twin._greeted_at = NOW
        other = twin.platform(first, NOW)
        assert other != answer, "signatures are random, so this is a second valid DEVICE"
        refuses("link.order", lambda: platform.finish(other, NOW))
    altered = answer[:-1] + bytes((answer[-1] ^ 1,))
    refuses("link.order", lambda: platform.finish(altered, NOW))
    assert platform.finish(answer, NOW) == granted


def test_an_invalid_device_decides_nothing() -> None:
    device, platform = Module().run(), Service().run()
    answer = device.platform(platform.begin(device.hello(NOW), NOW), NOW)
    for at in (20, -1):
        altered = bytearray(answer)
        altered[at] ^= 1
        refuses("link.tag", lambda altered=altered: platform.finish(bytes(altered), NOW))
    platform.finish(answer, NOW)


# --- legality is a table ------------------------------------------------------------


PHASES: tuple[legality.Phase, ...] = ("new", "greeted", "answered", "open")
STEPS: tuple[legality.Step, ...] = (
    *("hello", "retry", "platform", "same-platform", "session", "same-session", "same-hello"),
    *("device", "same-device"),
)


@pytest.mark.parametrize("moves", [DEVICE_MOVES, PLATFORM_MOVES], ids=["device", "platform"])
def test_only_steps_of_the_table_move(
    moves: dict[tuple[legality.Phase, legality.Step], legality.Move],
) -> None:
    for phase, step in product(PHASES, STEPS):
        if (phase, step) in moves:
            assert legality.move(moves, phase, step) == moves[phase, step].then
            continue
        refuses("link.order", lambda phase=phase, step=step: legality.move(moves, phase, step))


def test_no_row_leads_back_to_an_earlier_phase() -> None:
    for moves in (DEVICE_MOVES, PLATFORM_MOVES):
        for (phase, _), then in moves.items():
            assert PHASES.index(then.then) >= PHASES.index(phase)


@suites
def test_messages_out_of_order_are_refused_and_move_nothing(suite: int) -> None:
    other = Module(suite).run()
    service = Service(suite)
    done = service.run()
    hello = other.hello(NOW)
    platform_message = done.begin(hello, NOW)
    device_message = other.platform(platform_message, NOW)
    session_message = done.finish(device_message, NOW).message
    fresh = Module(suite).run()
    refuses("link.order", lambda: fresh.platform(platform_message, NOW))
    refuses("link.order", lambda: fresh.session(session_message, NOW))
    refuses("link.order", lambda: fresh.retry(messages.retry(bytes(16))))
    empty = service.run()
    refuses("link.order", lambda: empty.finish(device_message, NOW))
    assert (fresh.phase, empty.phase) == ("new", "new")
    assert code_of(lambda: done.begin(fresh.hello(NOW), NOW)) == "link.order"
    refuses("link.order", lambda: other.hello(NOW))


# --- reflection, mixing, another's run ---------------------------------------------------------------------


@suites
def test_reflected_messages_are_refused(suite: int) -> None:
    device, platform = Module(suite).run(), Service(suite).run()
    hello = device.hello(NOW)
    refuses("link.header", lambda: device.platform(hello, NOW))
    first = platform.begin(hello, NOW)
    answer = device.platform(first, NOW)
    refuses("link.header", lambda: platform.finish(first, NOW))
    refuses("link.header", lambda: device.session(answer, NOW))
    relabelled = answer[:3] + bytes((messages.SESSION,)) + answer[4:]
    refuses("link.tag", lambda: device.session(relabelled, NOW))
    granted = platform.finish(answer, NOW)
    relabelled = granted.message[:3] + bytes((messages.DEVICE,)) + granted.message[4:]
    refuses("link.order", lambda: platform.finish(relabelled, NOW))
    device.session(granted.message, NOW)


@suites
def test_messages_of_another_run_are_refused(suite: int) -> None:
    service = Service(suite)
    pairs = []
    for _ in range(2):
        device, platform = Module(suite).run(), service.run()
        pairs.append((device, platform, platform.begin(device.hello(NOW), NOW)))
    (one, first, hers), (two, second, his) = pairs
    expected = "link.signature" if suite == 1 else "link.fin"
    refuses(expected, lambda: one.platform(his, NOW))
    answers = [one.platform(hers, NOW), two.platform(his, NOW)]
    refuses("link.session", lambda: first.finish(answers[1], NOW))
    moved = answers[1][:6] + first.session_id + answers[1][14:]
    refuses("link.tag", lambda: first.finish(moved, NOW))
    granted = [first.finish(answers[0], NOW), second.finish(answers[1], NOW)]
    refuses("link.session", lambda: one.session(granted[1].message, NOW))
    moved = granted[1].message[:6] + granted[0].session_id + granted[1].message[14:]
    refuses("link.tag", lambda: one.session(moved, NOW))
    assert one.session(granted[0].message, NOW).keys == granted[0].keys


# --- who may speak at all ------------------------------------------------------------


@suites
def test_a_hello_with_a_bad_mac_costs_nothing_but_its_mac(suite: int) -> None:
    service = Service(suite)
    device = Module(suite).run()
    device.hello(NOW)
    hello = device._hello
    assert hello is not None
    forged = structs.replace(hello, mac=bytes(16))
    refuses("link.hello-mac", lambda: service.run().begin(forged.encode(), NOW))
    assert service.costly == 0


@suites
def test_a_module_that_is_not_enrolled_is_refused_like_a_bad_mac(suite: int) -> None:
    service = Service(suite)
    for module in (
        Module(suite, OTHER_DEVICE),
        Module(suite, module_id=OTHER_MODULE),
        Module(suite, version=2),
    ):
        refuses(
            "link.unknown-module", lambda module=module: service.run().begin(module.run().hello(NOW), NOW)
        )
    assert service.costly == 0


def test_another_suite_than_the_modules_own_is_refused_on_both_sides() -> None:
    for suite in (1, 2):
        refuses(
            "link.suite",
            lambda suite=suite: Service(3 - suite).run().begin(Module(suite).run().hello(NOW), NOW),
        )
        device, other = Module(suite).run(), Module(3 - suite).run()
        device.hello(NOW)
        message = Service(3 - suite).run().begin(other.hello(NOW), NOW)
        refuses("link.suite", lambda device=device, message=message: device.platform(message, NOW))
    with pytest.raises(LocalError):
        DeviceRun(Identity(3, DEVICE, MODULE, 1), Module(), bound=0)


@suites
def test_a_platform_that_names_another_key_version_is_refused(
    suite: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = messages.platform_up_to_signature
    device, platform = Module(suite).run(), Service(suite).run()
    hello = device.hello(NOW)
    monkeypatch.setattr(
        messages,
        "platform_up_to_signature",
        lambda suite, session, nonce, version, *rest: honest(suite, session, nonce, version + 1, *rest),
    )
    message = platform.begin(hello, NOW)
    refuses("link.key-version", lambda: device.platform(message, NOW))


def test_a_platform_without_the_modules_key_is_refused() -> None:
    """Suite 1 with a stolen signing key but no key tree: fin_p does not hold."""
    service = Service()
    device = Module().run()
    hello = device.hello(NOW)
    service.enrolments = {(DEVICE, MODULE, 1): Enrolment(1, link_key(OTHER_DEVICE))}
    run = service.run()
    parsed = messages.parse_hello(hello)
    run._answer(parsed, service.enrolments[DEVICE, MODULE, 1])
    refuses("link.fin", lambda: device.platform(run._platform, NOW))
    assert device.bound == SINCE


def test_a_platform_with_the_key_tree_but_no_certificate_is_refused() -> None:
    """Suite 1 with a stolen key tree but no signing key: chain, project or signature do not hold."""
    stolen = Tree()
    cases = [
        ("link.chain", stolen.platform_chain, stolen.platform_key),
        ("link.signature", tree().platform_chain, stolen.platform_key),
        ("link.chain", tree().device_chain, tree().device_key),
        (
            "link.chain",
            [tree().platform(until=SINCE - 1000, since=SINCE - DAY), tree().platform_ca],
            tree().platform_key,
        ),
        ("link.project", [tree().platform(project=bytes(16)), tree().platform_ca], tree().platform_key),
        ("link.chain", [tree().platform(until=SINCE + 31 * DAY), tree().platform_ca], tree().platform_key),
    ]
    for code, chain, key in cases:
        service = Service(chain=chain)
        service.signer = key
        device = Module().run(bound=SINCE)
        message = service.run().begin(device.hello(NOW), NOW)
        refuses(code, lambda device=device, message=message: device.platform(message, NOW))
        assert device.phase == "greeted"
        assert device.bound == SINCE


def test_a_device_with_the_key_but_not_its_certificate_is_refused() -> None:
    stolen = Tree()
    foreign = issue_leaf(
        tree().device_ca,
        tree().device_ca_key,
        point=tree().device_key.public_point,
        name="other",
        purpose="device",
        uris=[uri("device", OTHER_DEVICE), uri("module", MODULE)],
        since=SINCE,
        until=SINCE + DAY,
    )
    cases = [
        ("link.chain", tuple(stolen.device_chain), stolen.device_key),
        ("link.signature", tuple(tree().device_chain), stolen.device_key),
        ("link.identity", (foreign, tree().device_ca), tree().device_key),
        ("link.chain", tuple(tree().platform_chain), tree().platform_key),
    ]
    for code, chain, key in cases:
        module = Module()
        module.signer = key
        module.identity = Identity(1, DEVICE, MODULE, 1, chain)
        device, platform = module.run(), Service().run()
        answer = device.platform(platform.begin(device.hello(NOW), NOW), NOW)
        refuses(code, lambda platform=platform, answer=answer: platform.finish(answer, NOW))
        assert platform.phase == "greeted"


def test_a_revoked_device_gets_no_session() -> None:
    service, device = Service(), Module().run()
    platform = service.run()
    answer = device.platform(platform.begin(device.hello(NOW), NOW), NOW)
    from meterseal.crypto.certificates import parse

    service.crls = tree().device_crls([parse(device._identity.chain[0]).serial])
    with pytest.raises(TrustError) as refused:
        platform.finish(answer, NOW)
    assert refused.value.facts["cause"] == "crypto.revoked"


def test_a_device_without_the_modules_key_is_refused_by_fin() -> None:
    """A run whose DEVICE carries a good chain and signature but a wrong fin_d."""
    module, platform = Module(), Service().run()
    device = module.run()
    device.platform(platform.begin(device.hello(NOW), NOW), NOW)
    transcript, secret = device._transcript, device._secret
    assert transcript is not None
    signature = module.sign(schedule.signed_by_device(transcript.th3))
    credential = messages.Credential(module.identity.chain, signature, bytes(32))
    keys = schedule.handshake_keys(secret, transcript.th1)
    forged = proving.seal_part(keys.up, messages.DEVICE, platform.session_id, credential.encode())
    refuses("link.fin", lambda: platform.finish(forged, NOW))


def test_an_invalid_ephemeral_point_is_refused_on_both_sides() -> None:
    module = Module()
    device, platform = module.run(), Service().run()
    hello = messages.parse_hello(device.hello(NOW))
    off = hello.point[:-1] + bytes((hello.point[-1] ^ 1,))
    claims = Hello(hello.suite, DEVICE, MODULE, 1, hello.nonce, off, b"")
    signed = Hello(
        hello.suite, DEVICE, MODULE, 1, hello.nonce, off, schedule.hello_mac(module.key, claims.claims())
    )
    refuses("link.point", lambda: platform.begin(signed.encode(), NOW))
    message = bytearray(platform.begin(hello.encode(), NOW))
    message[6 + 42 + 64] ^= 1
    refuses("link.point", lambda: device.platform(bytes(message), NOW))


# --- time ------------------------------------------------------------


def test_the_bound_rises_to_not_before_only_after_fin_p() -> None:
    newer = [tree().platform(since=SINCE + 5 * DAY, until=SINCE + 20 * DAY), tree().platform_ca]
    device = Module().run(bound=SINCE)
    platform = Service(chain=newer).run()
    message = platform.begin(device.hello(NOW), NOW)
    altered = message[:-1] + bytes((message[-1] ^ 1,))
    refuses("link.fin", lambda: device.platform(altered, NOW))
    assert device.bound == SINCE
    device.platform(message, NOW)
    assert device.bound == SINCE + 5 * DAY


def test_the_bound_never_falls() -> None:
    device = Module().run(bound=SINCE + 7 * DAY)
    device.platform(Service().run().begin(device.hello(NOW), NOW), NOW)
    assert device.bound == SINCE + 7 * DAY


def test_a_platform_certificate_from_the_future_is_not_compared_with_any_clock() -> None:
    future = [tree().platform(since=NOW + 900 * DAY, until=NOW + 920 * DAY), tree().platform_ca]
    device = Module().run(bound=SINCE)
    device.platform(Service(chain=future).run().begin(device.hello(NOW), NOW), NOW)
    assert device.bound == NOW + 900 * DAY


def clock_of(
    *, suite: int = 1, granted_at: int = NOW, bound: int = SINCE, after: int = 0, gathered: bool = False
) -> int | None:
    device = Module(suite).run(bound=bound, behind_concentrator=gathered)
    platform = Service(suite).run()
    answer = device.platform(platform.begin(device.hello(0), granted_at), 0)
    session = device.session(platform.finish(answer, granted_at).message, after)
    assert session.platform_at == granted_at
    assert device.bound == max(bound, SINCE) if suite == 1 else device.bound == bound
    return session.clock


def test_session_sets_the_clock_only_soon_after_device() -> None:
    assert clock_of(after=10_000) == NOW
    assert clock_of(after=10_001) is None
    assert clock_of(after=15 * 60_000, gathered=True) == NOW


def test_session_never_sets_the_clock_below_the_bound_or_past_the_certificate() -> None:
    end = SINCE + 30 * DAY + 999
    assert clock_of(granted_at=SINCE - 1) is None
    assert clock_of(granted_at=end) == end
    assert clock_of(granted_at=end + 1) is None
    assert clock_of(suite=2, granted_at=end + 1) == end + 1
    assert clock_of(suite=2, granted_at=SINCE, bound=SINCE + 1) is None


def test_a_handshake_times_out_after_thirty_seconds_or_fifteen_minutes() -> None:
    for gathered, limit in ((False, 30_000), (True, 15 * 60_000)):
        device = Module(2).run(behind_concentrator=gathered)
        platform = Service(2).run()
        message = platform.begin(device.hello(NOW), NOW)
        refuses("link.time-out", lambda d=device, m=message, n=limit: d.platform(m, NOW + n + 1))
        answer = device.platform(message, NOW + limit)
        refuses("link.time-out", lambda p=platform, a=answer, n=limit: p.finish(a, NOW + n + 1, patience=n))
        session = platform.finish(answer, NOW + limit, patience=limit).message
        refuses("link.time-out", lambda d=device, s=session, n=limit: d.session(s, NOW + 2 * n + 1))
        device.session(session, NOW + 2 * limit)


# --- RETRY ------------------------------------------------------------


@suites
def test_a_cookie_proves_the_return_path_and_changes_no_transcript(suite: int) -> None:
    device, platform = Module(suite).run(), Service(suite).run()
    hello = device.hello(NOW)
    parsed = messages.parse_hello(hello)
    old, new = b"old secret", b"new secret"
    assert not messages.cookie_holds([new, old], b"10.0.0.1", parsed)
    cookie = messages.cookie_for(old, b"10.0.0.1", parsed)
    repeated = device.retry(messages.retry(cookie))
    assert messages.cookie_holds([new, old], b"10.0.0.1", messages.parse_hello(repeated))
    assert not messages.cookie_holds([new, old], b"10.0.0.2", messages.parse_hello(repeated))
    assert not messages.cookie_holds([new], b"10.0.0.1", messages.parse_hello(repeated))
    assert messages.parse_hello(repeated).canonical() == hello
    first = platform.begin(repeated, NOW)
    assert platform.begin(hello, NOW) == first
    device.session(platform.finish(device.platform(first, NOW), NOW).message, NOW)


def test_a_forged_retry_only_makes_the_same_hello_repeat() -> None:
    device, platform = Module(2).run(), Service(2).run()
    hello = device.hello(NOW)
    for cookie in (bytes(16), b"\xff" * 16):
        forged = device.retry(messages.retry(cookie))
        assert messages.parse_hello(forged).canonical() == hello
    for size in (0, 15, 17):
        refuses("link.length", lambda size=size: device.retry(messages.retry(bytes(size))))
    device.platform(platform.begin(device.hello(NOW), NOW), NOW)
