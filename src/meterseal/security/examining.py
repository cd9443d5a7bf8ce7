"""What the parts of the keys doctor share: the register, the keys that guesses are tried under, and two links of a chart.

It looks at no message; `diagnosis_hello` and `diagnosis_record` do.
"""

from __future__ import annotations

from meterseal.errors import TrustError
from meterseal.security.chart import Chart
from meterseal.security.keylife import KeyLife
from meterseal.security.pki import Pki
from meterseal.security.registry import Module, Registry
from meterseal.security.vault import Vault


class Examiner:
    """What a look at a message can compare with."""

    def __init__(
        self, keys: Vault, registry: Registry, pki: Pki, keylife: KeyLife, project_id: bytes
    ) -> None:
        self.keys, self.registry, self.pki, self.keylife = keys, registry, pki, keylife
        self.project_id = project_id

    def known(self, device_id: bytes) -> bool:
        """Whether this device has or had a module."""
        return bool(self.registry.all_of(device_id))

    def certificate(self, module: Module | None, chart: Chart, now: int) -> None:
        """The link *certificate* of a chart."""
        if module is None:
            chart.unchecked("certificate", "No module is enrolled that could have one.")
        elif not module.leaf:
            chart.unchecked("certificate", "Suite 2 has no certificates.")
        else:
            try:
                leaf = self.pki.check_device(
                    list(self.pki.device_chain(module.leaf)), module.device_id, module.module_id, now
                )
            except TrustError as error:
                chart.wrong("certificate", error.message, "a certificate in force", error.code)
            else:
                chart.good("certificate", f"Serial {leaf.serial:x} holds under our root and is not revoked.")
