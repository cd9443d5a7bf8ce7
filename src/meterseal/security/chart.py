"""A diagnosis while it is made: each link good, wrong or not checkable, in the order of the chain.

It looks at no message; `diagnosis` does.
"""

from __future__ import annotations

from meterseal.security.hypotheses import orders
from meterseal.security.symptoms import CHAIN, Diagnosis, Finding, Verdict

_CURES = {
    "address": "Enrol the meter under the address that it speaks, or set its address, then personalise its module.",
    "module": "Look at the meter: put its own module in, or withdraw the old one and enrol the new one.",
    "key version": "Send the module the newest key (control KEY), or personalise it anew if it does not answer.",
    "region": "Personalise the module for this project; whoever made it used another region code.",
    "project": "Personalise the module for this project; whoever made it used another project's keys.",
    "certificate": "Renew the certificate while the module is in reach, or replace the module if it was revoked.",
    "counter": "Let the meter greet anew; if it happens again its module lost its memory: replace it.",
    "profile": "Set the same suite, policy and profile on both sides, then let the meter greet anew.",
}
_NOT_LOOKED = "Nothing in what was shown says anything about it."


class Chart:
    """Findings by link; the first wrong one of a link stays."""

    def __init__(self, meter: bytes) -> None:
        self._meter = meter
        self._findings: dict[str, Finding] = {}

    def good(self, link: str, says: str) -> None:
        """This link holds, as far as is known yet."""
        self._put(link, "good", says)

    def unchecked(self, link: str, says: str) -> None:
        """This link cannot be judged from what was shown."""
        if link not in self._findings:
            self._put(link, "unchecked", says)

    def wrong(self, link: str, says: str, expected: str, found: str) -> None:
        """This link is wrong."""
        self._put(link, "wrong", says, expected, found)

    def rest(self, says: str) -> None:
        """No other link can be judged."""
        for link in CHAIN:
            self.unchecked(link, says)

    def envelope(self, device_id: bytes) -> None:
        """A concentrator's envelope names this device."""
        if device_id != self._meter:
            self.wrong(
                "address",
                "The concentrator's envelope names another device.",
                self._meter.hex(),
                device_id.hex(),
            )

    def address(self, device_id: bytes, known: bool, of: str = "message") -> None:
        """The device id that was found, compared with the meter's, with a hint at how it may have come about."""
        if device_id == self._meter:
            self.good("address", f"The {of} is of {device_id.hex()}.")
            return
        turned = {value: name for name, value in orders(device_id).items()}
        if self._meter in turned:
            said = f"The byte order differs: {turned[self._meter]}."
        elif device_id[1:] == self._meter[1:]:
            said = f"The address is right and the type is not: {self._meter[:1].hex()} is enrolled."
        else:
            said = f"The {of} is of another meter" + (
                ", which is enrolled too." if known else " that is not enrolled."
            )
        self.wrong("address", said, self._meter.hex(), device_id.hex())

    def diagnosis(self, kind: str) -> Diagnosis:
        """The finished diagnosis; its conclusion is the cure of the first wrong link."""
        self.rest(_NOT_LOOKED)
        findings = tuple(self._findings[link] for link in CHAIN)
        bad = [one.link for one in findings if one.verdict == "wrong"]
        conclusion = (
            _CURES[bad[0]] if bad else "No link that could be checked is wrong; let the meter greet anew."
        )
        return Diagnosis(meter=self._meter, kind=kind, findings=findings, conclusion=conclusion)

    def closed(self, kind: str, conclusion: str) -> Diagnosis:
        """A diagnosis that can go no further."""
        self.rest(_NOT_LOOKED)
        findings = tuple(self._findings[link] for link in CHAIN)
        return Diagnosis(meter=self._meter, kind=kind, findings=findings, conclusion=conclusion)

    def unreadable(self, why: str) -> Diagnosis:
        """What was shown is damaged."""
        return self.closed("unreadable", why)

    def _put(self, link: str, verdict: Verdict, says: str, expected: str = "", found: str = "") -> None:
        kept = self._findings.get(link)
        if kept is None or kept.verdict != "wrong":
            self._findings[link] = Finding(
                link=link, verdict=verdict, says=says, expected=expected, found=found
            )
