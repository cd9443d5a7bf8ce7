"""What the handshake, seal and issue benchmarks time is the real work: sessions, records, certificates, counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.hmac import HMAC

from meterseal.crypto import certificates, sm2, symmetric
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError, TrustError
from meterseal.kit.bench import seal
from meterseal.kit.bench.handshake import AT_ONCE, LinkHandshakes, ServiceHandshakes, finish, needed
from meterseal.kit.bench.issue import BATCH, Enrolling, Issuing
from meterseal.kit.bench.modules import NOW, BenchService
from meterseal.kit.bench.timing import Watch
from meterseal.link.handshake import Enrolment
from meterseal.wire.meaning import interpret


@pytest.fixture
def service() -> Iterator[BenchService]:
    with ExitStack() as stack:
        yield BenchService(stack)


def _used(service: BenchService, key: str) -> int:
    usage = service.wait(service.platform.usage())
    return sum(facts.used for facts in usage.keys if facts.id == key)


@pytest.mark.parametrize("suite", [1, 2])
def test_every_timed_handshake_is_granted_counted_wrapped_and_in_the_audit_log(
    service: BenchService, suite: int
) -> None:
    modules = service.enrolled(AT_ONCE, suite)
    shaking = ServiceHandshakes(service, lambda: modules)
    diak, wrapped = _used(service, "DIAK"), _used(service, "WRAP-SESSION")
    watch = Watch()
    assert shaking.work(watch) == shaking.granted == AT_ONCE
    assert watch.cpu > 0
    assert _used(service, "DIAK") - diak == AT_ONCE
    assert _used(service, "WRAP-SESSION") - wrapped == AT_ONCE
    entries = [one.entry for one in service.wait(service.platform.audit(limit=1000))]
    opened = {one.device_id for one in entries if one.code == "security.session"}
    assert opened == {module.device_id for module in modules}
    assert not any(one.refused for one in entries)


def test_a_session_whose_keys_differ_is_no_result() -> None:
    shaking = LinkHandshakes(2)
    device = shaking.module.greets()
    hello = device.hello(NOW)
    run = shaking.run()
    granted = run.finish(device.platform(run.begin(hello, NOW), NOW), NOW)
    other = msgspec.structs.replace(granted.keys, up_mac=bytes(32))
    with pytest.raises(EngineError) as refused:
        finish(device, granted.message, other)
    assert refused.value.code == "bench.session"


def test_the_timed_state_machine_refuses_a_module_with_another_key() -> None:
    shaking = LinkHandshakes(2)
    from meterseal.crypto.handles import SymmetricKey

    shaking.enrolment = Enrolment(2, SymmetricKey.generate("another key"))
    with pytest.raises(TrustError) as refused:
        shaking.work(Watch())
    assert refused.value.code == "link.hello-mac"


class _Counting(Watch):
    """Counts library calls, but only while the clock runs."""

    __slots__ = ("counts", "running")

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Watch:
        self.running = True
        return super().__enter__()

    def __exit__(self, *failed: object) -> None:
        super().__exit__(*failed)
        self.running = False

    def over(self, name: str, real: Any) -> Any:
        """`real`, its calls counted under `name`."""

        def call(*arguments: Any, **others: Any) -> Any:
            if self.running:
                self.counts[name] = self.counts.get(name, 0) + 1
            return real(*arguments, **others)

        return call


class _Copied:
    """An empty SM3 state, each copy of which begins a digest."""

    def __init__(self, real: Any, watch: _Counting) -> None:
        self.copy = watch.over("SM3", real.copy)


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("where", ["link", "service"])
def test_the_bound_of_a_handshake_asks_for_no_primitive_more_often_than_the_handshake_does(
    service: BenchService, monkeypatch: pytest.MonkeyPatch, suite: int, where: str
) -> None:
    watch = _Counting()
    shaking: ServiceHandshakes | LinkHandshakes
    if where == "link":
        shaking = LinkHandshakes(suite)
    else:
        modules = service.enrolled(AT_ONCE, suite)
        shaking = ServiceHandshakes(service, lambda: modules)
    monkeypatch.setattr(symmetric, "HMAC", watch.over("HMAC", HMAC))
    monkeypatch.setattr(symmetric, "_EMPTY", _Copied(symmetric._EMPTY, watch))
    monkeypatch.setattr(symmetric, "Cipher", watch.over("SM4", Cipher))
    for name in ("generate", "agree", "sign"):
        real = getattr(Sm2PrivateKey, name)
        monkeypatch.setattr(Sm2PrivateKey, name, watch.over(name, real))
    monkeypatch.setattr(sm2, "verify", watch.over("verify", sm2.verify))
    done = shaking.work(watch)
    bound: dict[str, float] = {}
    for count, part in needed(suite, service=where == "service", leaf="proved before").parts:
        bound[part.name.split()[0]] = bound.get(part.name.split()[0], 0) + count
        bound[part.name] = count
    assert bound["HMAC-SM3"] <= watch.counts["HMAC"] / done
    assert bound["SM3"] <= watch.counts["SM3"] / done
    ciphers = bound["SM4"] + bound["SM4-CBC"] + bound.get("SM4-GCM", 0)
    assert ciphers <= watch.counts["SM4"] / done
    asymmetric = {"SM2 keygen": "generate", "SM2 ECDH": "agree", "SM2 sign": "sign", "SM2 verify": "verify"}
    for part_name, call in asymmetric.items():
        assert bound.get(part_name, 0) <= watch.counts.get(call, 0) / done, call
        assert (part_name in bound) == (suite == 1)


@pytest.mark.parametrize("count", seal.SIZES)
def test_a_timed_record_opens_to_the_frames_that_were_sealed(count: int) -> None:
    sealing = seal.Sealing(count)
    assert [frame.encode() for frame in sealing.open()] == sealing.encoded
    assert sealing.seal() != sealing.seal()
    said = sealing.say().opened.series
    registers = [register for one in said for register in one.registers]
    assert registers == [123_400 + at for at in range(seal.VALUES * count)]


def test_a_changed_record_is_not_measured_as_opened() -> None:
    sealing = seal.Sealing(1)
    sealing.record = sealing.record[:-1] + bytes((sealing.record[-1] ^ 1,))
    for act in (sealing.open, sealing.say):
        with pytest.raises(EngineError) as refused:
            act()
        assert refused.value.code == "bench.seal"


def test_a_timed_command_ends_as_the_valve_frame_that_was_authorised() -> None:
    commanding = seal.Commanding()
    frame = commanding.act()
    assert frame.encode() == commanding.frame
    assert interpret(frame).direction == "down"
    commanding.number -= 2  # a number that does not rise
    commanding.judged = commanding.number + 2
    with pytest.raises(TrustError) as refused:
        commanding.act()
    assert refused.value.code == "link.command-number"


def test_a_timed_control_word_arrives_as_it_was_said() -> None:
    speaking = seal.Speaking()
    assert speaking.act() == speaking.word


def test_timed_certificates_hold_under_their_root_and_name_their_module() -> None:
    issuing = Issuing()
    assert issuing.work(Watch()) == BATCH == len(set(issuing.leaves))
    for leaf, module in list(zip(issuing.leaves, issuing.modules, strict=True))[::25]:
        held = certificates.verify_chain((leaf, issuing.ca), root=issuing.root, purpose="device", at=NOW)
        assert held.point == module.point
        assert held.identity("module") == module.module_id


def test_timed_enrolments_are_in_the_registry(service: BenchService) -> None:
    enrolling = Enrolling(service)
    assert enrolling.work(Watch()) == enrolling.enrolled == BATCH
    assert service.wait(service.platform.usage()).modules == BATCH
