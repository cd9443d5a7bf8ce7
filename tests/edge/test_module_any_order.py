"""Any sequence of commands against a model of the module's life: what is allowed when, what locks, what power ends
(HM-8.5.4.c to HM-8.5.4.f). The model knows nothing of pages, keys or macs; it knows the rules.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import CardIns, Ins, Sw, pack
from meterseal.edge.chip import ACTIVE, DESTROYED, LOCKED, PERSONALISED
from meterseal.edge.storing import ENCRYPT, FILES
from meterseal.errors import TrustError
from meterseal.link.cardkeys import Purpose
from tests.crypto.pki import NOW
from tests.edge.cards import PIN, PUK, Bench
from tests.edge.platform import shake_hands
from tests.edge.test_module import report

PINS = st.sampled_from([PIN, "111111", "22222222", "000000"])
TRIES, PUK_TRIES, AUTH_TRIES, UNLOCK_TRIES = 5, 10, 8, 15


class Life(RuleBasedStateMachine):
    """The model beside the module."""

    @initialize(suite=st.sampled_from([1, 2]))
    def make(self, suite: int) -> None:
        self.bench = Bench(suite=suite)
        self.life, self.locked_by = PERSONALISED, ""
        self.pin, self.left = (
            PIN,
            {"pin": TRIES, "puk": PUK_TRIES, "auth": AUTH_TRIES, "unlock": UNLOCK_TRIES},
        )
        self.verified = self.authenticated = False
        self.session = self.root = False
        self.versions: dict[int, int] = {}
        self.files: dict[int, bytes] = {}
        self.policy = 1
        self.top = 0

    # --- how the model speaks ---------------------------------------------------------------------------

    def word(self, act: object) -> int:
        try:
            act()  # type: ignore[operator]
        except TrustError as error:
            return int(error.facts["word"] or 0)
        return Sw.OK

    def open(self) -> bool:
        return self.life in (PERSONALISED, ACTIVE)

    def lock(self, why: str) -> None:
        self.life, self.locked_by = LOCKED, why
        self.verified = self.authenticated = False

    def unlock(self) -> None:
        self.life, self.locked_by = ACTIVE if self.session else PERSONALISED, ""

    def spend(self, counter: str) -> int:
        self.left[counter] -= 1
        if self.left[counter] == 0 and self.life != LOCKED:
            self.lock(counter)
        return 0x63C0 | self.left[counter]

    # --- commands ---------------------------------------------------------------------------------------

    @rule(pin=PINS)
    def verify(self, pin: str) -> None:
        word = self.word(lambda: self.bench.card.verify(pin))
        if not self.open():
            assert word == (Sw.BLOCKED if self.life == LOCKED else Sw.CONDITIONS)
        elif pin == self.pin:
            assert word == Sw.OK
            self.left["pin"], self.verified = TRIES, True
        else:
            self.verified = False
            assert word == self.spend("pin")

    @rule(old=PINS, new=PINS)
    def change(self, old: str, new: str) -> None:
        word = self.word(lambda: self.bench.card.change_pin(old, new))
        if not self.open():
            assert word == (Sw.BLOCKED if self.life == LOCKED else Sw.CONDITIONS)
        elif old == self.pin:
            assert word == Sw.OK
            self.pin, self.left["pin"], self.verified = new, TRIES, False
        else:
            self.verified = False
            assert word == self.spend("pin")

    @rule(puk=st.sampled_from([PUK, PUK, "99999999"]), new=PINS)
    def unblock(self, puk: str, new: str) -> None:
        word = self.word(lambda: self.bench.card.unblock(puk, new))
        if not (self.open() or self.locked_by == "pin"):
            assert word == (Sw.BLOCKED if self.life == LOCKED else Sw.CONDITIONS)
        elif self.left["puk"] == 0:
            assert word == Sw.BLOCKED
        elif puk == PUK:
            assert word == Sw.OK
            self.pin, self.left["pin"], self.left["puk"], self.verified = new, TRIES, PUK_TRIES, False
            if self.life == LOCKED:
                self.unlock()
        else:
            self.verified = False
            assert word == self.spend("puk")

    @rule(
        purpose=st.sampled_from([*Purpose, Purpose.RIGHTS, Purpose.UNLOCK]),
        good=st.sampled_from([True, True, True, False]),
    )
    def external(self, purpose: Purpose, good: bool) -> None:
        if purpose is Purpose.DESTROY and good:
            return  # `destroy` below; else every run would end early
        answering = purpose if good else Purpose((purpose + 1) % 4)
        challenge = self.word(lambda: self.bench.card.challenge())
        assert challenge == (Sw.CONDITIONS if self.life == DESTROYED else Sw.OK)
        if self.life == DESTROYED:
            return
        answer = self.bench.issuer.answer(answering, self.bench.card.challenge())
        word = int.from_bytes(self.bench.port.transmit(pack(CardIns.EXTERNAL, answer, p2=purpose)), "big")
        if (self.life == LOCKED) != (purpose is Purpose.UNLOCK):
            assert word == Sw.CONDITIONS
            return
        counter = {Purpose.RIGHTS: "auth", Purpose.UNLOCK: "unlock"}.get(purpose, purpose.name)
        self.left.setdefault(counter, AUTH_TRIES)
        if self.left[counter] == 0:
            assert word == Sw.BLOCKED
        elif not good:
            self.authenticated = False
            assert word == self.spend(counter)
        else:
            assert word == Sw.OK
            self.left[counter] = UNLOCK_TRIES if counter == "unlock" else AUTH_TRIES
            if purpose is Purpose.RIGHTS:
                self.authenticated = True
            elif purpose is Purpose.LOCK:
                self.lock("order")
            elif purpose is Purpose.UNLOCK:
                self.left = {"pin": TRIES, "puk": PUK_TRIES, "auth": AUTH_TRIES, "unlock": UNLOCK_TRIES}
                self.unlock()
            else:
                self.life = DESTROYED

    @precondition(lambda self: self.top > 40)
    @rule()
    def destroy(self) -> None:
        word = self.word(lambda: self.bench.card.external(self.bench.issuer, Purpose.DESTROY))
        assert word == (Sw.OK if self.open() else Sw.CONDITIONS)
        if word == Sw.OK:
            self.life = DESTROYED

    @rule(
        file=st.sampled_from(sorted(FILES)), content=st.binary(min_size=1, max_size=8), at=st.integers(0, 248)
    )
    def update(self, file: int, content: bytes, at: int) -> None:
        if self.life == DESTROYED:
            return
        word = self.word(lambda: self.bench.card.update(self.bench.issuer, file, content, at))
        right = {0: True, 1: self.verified, 2: self.authenticated}[FILES[file].update]
        assert word == (Sw.CONDITIONS if not self.open() else Sw.OK if right else Sw.SECURITY)
        if word == Sw.OK:
            old = self.files.get(file, bytes(256))
            self.files[file] = old[:at] + content + old[at + len(content) :]

    @rule(file=st.sampled_from(sorted(FILES)))
    def read(self, file: int) -> None:
        right = {0: True, 1: self.verified, 2: self.authenticated}[FILES[file].read]
        if self.open() and right:
            assert self.bench.card.read(file) == self.files.get(file, bytes(256))
        else:
            word = self.word(lambda: self.bench.card.read(file))
            assert word == (Sw.SECURITY if self.open() else Sw.CONDITIONS)

    @rule(slot=st.integers(0, 3), version=st.integers(1, 4))
    def write_key(self, slot: int, version: int) -> None:
        if self.life == DESTROYED:
            return
        key = SymmetricKey.generate("a fresh key")
        word = self.word(
            lambda: self.bench.card.write_key(self.bench.issuer, slot, version, key, usage=ENCRYPT, levels=1)
        )
        free = slot not in self.versions or (slot != 0 and version > self.versions[slot])
        if not self.open() or not free:
            assert word == Sw.CONDITIONS
        else:
            assert word == (Sw.OK if self.authenticated else Sw.SECURITY)
        if word == Sw.OK:
            self.versions[slot] = version

    @rule(slot=st.integers(0, 3))
    def init_descrypt(self, slot: int) -> None:
        word = self.word(lambda: self.bench.card.init_descrypt(slot, bytes(8)))
        if not self.open():
            assert word == Sw.CONDITIONS
        else:
            assert word == (Sw.OK if slot in self.versions else Sw.NOT_FOUND)

    @rule(policy=st.sampled_from([1, 2]))
    def put_policy(self, policy: int) -> None:
        if self.life == DESTROYED:
            return
        word = self.word(lambda: self.bench.card.put_policy(self.bench.issuer, policy))
        assert word == (Sw.CONDITIONS if not self.open() else Sw.OK if self.authenticated else Sw.SECURITY)
        if word == Sw.OK:
            self.policy = policy

    @rule()
    def talk(self) -> None:
        """A handshake and a record: possible in every open life, in no other."""
        if not self.open():
            assert self.word(lambda: self.bench.chip.hello(NOW)) == Sw.CONDITIONS
            assert self.word(lambda: self.bench.chip.seal(report(), NOW)) == Sw.CONDITIONS
            return
        shake_hands(self.bench.platform, self.bench.chip)
        self.session, self.life = True, ACTIVE
        (ack,) = self.bench.platform.receive(self.bench.chip.seal(report(), NOW).record)
        self.bench.chip.open(ack, NOW)

    @rule()
    def power(self) -> None:
        self.bench.power()
        self.verified = self.authenticated = False

    @rule(ins=st.sampled_from([*Ins, *CardIns]), content=st.binary(max_size=40), p1=st.integers(0, 255))
    def garble(self, ins: int, content: bytes, p1: int) -> None:
        """Bytes that mean nothing win nothing."""
        if ins in (CardIns.VERIFY, CardIns.CHANGE, CardIns.RESET, CardIns.EXTERNAL, CardIns.UPDATE, Ins.SIGN):
            return  # those cost a try, or sign: they have rules of their own
        if ins in (CardIns.PUT_POLICY, CardIns.WRITE_KEY, CardIns.CHANGE_SEALED, CardIns.INIT_DESCRYPT):
            return
        self.bench.port.transmit(pack(ins, content, p1=p1))

    # --- what always holds ------------------------------------------------------------------------------

    @invariant()
    def the_module_is_what_the_model_says(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.top += 1
        state = self.bench.card.state()
        assert state.life == self.life
        if self.life != DESTROYED:
            assert state.left.get(1, TRIES) == self.left["pin"]
            assert state.left.get(2, PUK_TRIES) == self.left["puk"]
            assert state.own_policy == self.policy
        assert not self.bench.port.fault


TestAnyOrder = Life.TestCase
TestAnyOrder.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
