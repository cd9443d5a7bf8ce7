"""Which tests ought to notice a fault in which module of link and crypto. It runs none of them."""

from __future__ import annotations

CRYPTO = [
    "tests/mutation/test_kills.py", "tests/mutation/test_kills_of_crypto.py", "tests/contracts/test_refusals_of_misuse.py",
    "tests/crypto/test_symmetric.py", "tests/crypto/test_vectors.py", "tests/crypto/test_sm2.py",
    "tests/crypto/test_certificates.py", "tests/crypto/test_lists.py", "tests/crypto/test_verifying.py",
    "tests/crypto/test_refusals.py", "tests/security/test_proven_leaves.py", "tests/link/test_handshake.py",
    "tests/crypto/test_second_opinion.py", "tests/crypto/test_selftest.py",
]  # fmt: skip
LINK = [
    "tests/mutation/test_kills.py", "tests/mutation/test_kills_of_link.py", "tests/contracts/test_refusals_of_misuse.py",
    "tests/link/test_records.py", "tests/link/test_link_runs.py", "tests/link/test_profiles.py",
    "tests/link/test_control.py", "tests/link/test_handshake.py", "tests/link/test_any_bytes.py",
    "tests/link/test_branches.py", "tests/link/test_counters.py", "tests/link/test_evidence.py",
    "tests/link/test_segments.py", "tests/link/test_transport.py", "tests/link/test_refusals.py",
]  # fmt: skip
CARD = [
    "tests/edge/test_module_vectors.py", "tests/edge/test_module_t15_authentication.py",
    "tests/edge/test_module_t14_root.py", "tests/edge/test_module_t12_clone.py",
]  # fmt: skip
ACTS = ["tests/link/test_acts.py", "tests/link/test_refusals.py", "tests/things/test_verbs.py"]
FITTING: dict[str, list[str]] = {
    "link.records": LINK,
    "link.control": LINK,
    "link.commands": LINK,
    "link.counters": LINK,
    "link.evidence": LINK,
    "link.platform_run": LINK,
    "link.device_run": LINK,
    "link.schedule": [*LINK, "tests/link/test_schedules.py"],
    "link.proving": LINK,
    "link.messages": LINK,
    "link.identities": LINK,
    "link.legality": [*LINK, "tests/link/test_diagram.py"],
    "link.profiles": LINK,
    "link.segments": LINK,
    "link.transport": LINK,
    "link.handshake": LINK,
    "link.firmware": ["tests/link/test_firmware.py", "tests/mutation/test_kills.py"],
    "link.acts": ACTS,
    "link.act_rows": ACTS,
    "link.cardkeys": [*LINK, *CARD],
    "crypto.symmetric": CRYPTO,
    "crypto.sm2": [*CRYPTO, "tests/crypto/test_equation.py"],
    "crypto.certificates": CRYPTO,
    "crypto.proven": CRYPTO,
    "crypto.verifying": CRYPTO,
    "crypto.issuing": CRYPTO,
    "crypto.names": CRYPTO,
    "crypto.merkle": ["tests/crypto/test_merkle.py"],
    "crypto.handles": CRYPTO,
    "crypto.selftest": CRYPTO,
    "crypto.expose": CRYPTO,
    "crypto._libcrypto": CRYPTO,
}
"""Every module of link and crypto, and the quick tests that ought to notice a fault in each."""

FIRST: dict[str, list[str]] = {
    "link.messages": ["tests/link/test_branches.py", "tests/link/test_handshake.py"],
    "link.identities": ["tests/link/test_handshake.py", "tests/link/test_control.py"],
    "link.transport": ["tests/link/test_transport.py"],
    "link.segments": ["tests/link/test_segments.py"],
    "link.profiles": ["tests/link/test_profiles.py"],
    "link.cardkeys": ["tests/edge/test_module_vectors.py", "tests/edge/test_module_t14_root.py"],
    "link.legality": ["tests/link/test_diagram.py", "tests/link/test_branches.py"],
    "link.counters": ["tests/link/test_counters.py", "tests/contracts/test_refusals_of_misuse.py"],
    "link.control": ["tests/link/test_control.py"],
    "link.commands": ["tests/link/test_control.py"],
    "link.evidence": ["tests/link/test_evidence.py"],
    "crypto.sm2": ["tests/crypto/test_vectors.py", "tests/crypto/test_sm2.py"],
    "crypto.verifying": ["tests/crypto/test_verifying.py"],
    "crypto.proven": ["tests/security/test_proven_leaves.py"],
    "crypto.certificates": ["tests/crypto/test_certificates.py", "tests/crypto/test_lists.py"],
    "crypto.issuing": ["tests/crypto/test_certificates.py", "tests/crypto/test_lists.py"],
    "crypto.names": ["tests/crypto/test_certificates.py"],
    "crypto.selftest": ["tests/crypto/test_selftest.py"],
    "crypto._libcrypto": ["tests/crypto/test_sm2.py"],
}
"""Those that are tried first, behind the first two of all, where everything must be imported anew."""
