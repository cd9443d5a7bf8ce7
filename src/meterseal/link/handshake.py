"""Station link, handshake: both sides of it, without input, output, clock or randomness (LINK section 3).

`DeviceRun` is one handshake seen from the module, `PlatformRun` one seen from the security service. Own
private keys, nonces, ES and trust in chains come through ports; what goes between them is bytes.
"""

from meterseal.link.device_run import DevicePorts, DeviceRun, Identity, Session
from meterseal.link.legality import DEVICE_MOVES, PLATFORM_MOVES
from meterseal.link.platform_run import Enrolment, Granted, PlatformPorts, PlatformRun

__all__ = [
    "DEVICE_MOVES",
    "PLATFORM_MOVES",
    "DevicePorts",
    "DeviceRun",
    "Enrolment",
    "Granted",
    "Identity",
    "PlatformPorts",
    "PlatformRun",
    "Session",
]
