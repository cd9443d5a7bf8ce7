"""The known-answer vectors of Chinese card practice in SM4 form, as sums and through the module's commands
(HM-8.5.4.c: sub-key generation, encryption, data authentication).
"""

from __future__ import annotations

from meterseal.edge.storing import AUTHENTICATE, DECRYPT, ENCRYPT
from meterseal.link import cardkeys
from tests.edge.cards import ROOT_KEY, Bench

F1, F2 = bytes.fromhex("3330313100000001"), bytes.fromhex("0000202611210001")
R = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
K1 = "73F76D498CEE3EAD315EE7E54B72371C"
K2 = "95B328159ADD8D4BDF8A69C7DEB512B5"
SM4_K2_R = "996C4BB85D7D26B73AD669DCC773744A"
FOLDED = "A3BA22649A0E52FD"
SESSION = "18302D56606F15B1F72237EA14F8CB78"
HEADER = bytes.fromhex("04D6860024")
CONTENT = bytes(range(16))
IV = bytes.fromhex("11223344")
MAC4 = "8DFBA8FC"


def test_vector_diversification_of_two_levels() -> None:
    from meterseal.crypto.expose import expose

    first = ROOT_KEY.diversify(F1, "K1")
    assert expose(first).hex().upper() == K1
    assert expose(first.diversify(F2, "K2")).hex().upper() == K2


def test_vector_folded_answer() -> None:
    second = ROOT_KEY.diversify(F1, "K1").diversify(F2, "K2")
    assert second.ecb(R).hex().upper() == SM4_K2_R
    assert cardkeys.folded(second, R).hex().upper() == FOLDED


def test_vector_session_key_and_mac() -> None:
    from meterseal.crypto.expose import expose

    session = ROOT_KEY.diversify(F1, "K1").diversify(F2, "K2").diversify(R[:8], "session")
    assert expose(session).hex().upper() == SESSION
    assert cardkeys.mac4(session, IV, HEADER, CONTENT).hex().upper() == MAC4


def test_vector_enciphered_by_a_sub_key_inside_the_module() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 0, 1, ROOT_KEY, usage=ENCRYPT, levels=2)
    bench.card.init_descrypt(0, F1 + F2)
    assert bench.card.descrypt(0x00, b"", R).hex().upper() == SM4_K2_R


def test_vector_deciphered_by_a_sub_key_inside_the_module() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 3, 7, ROOT_KEY, usage=DECRYPT, levels=2)
    bench.card.init_descrypt(3, F1 + F2, version=7)
    assert bench.card.descrypt(0x80, b"", bytes.fromhex(SM4_K2_R)) == R


def test_vector_mac_by_a_session_key_inside_the_module() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 0, 1, ROOT_KEY, usage=AUTHENTICATE, levels=3)
    bench.card.init_descrypt(0, F1 + F2 + R[:8])
    assert bench.card.descrypt(0x05, IV, HEADER + CONTENT).hex().upper() == MAC4
