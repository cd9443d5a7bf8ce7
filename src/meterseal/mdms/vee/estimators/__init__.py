"""Estimation (VEE 估算): how much is what the registers say; the methods only say when it was used."""

from __future__ import annotations

from meterseal.mdms.vee.estimators.bridge import FED_IN, ORDERS, Bridge, Override, bridge, can_fill, order_for
from meterseal.mdms.vee.estimators.estimator import Estimator, Gap, Known
from meterseal.mdms.vee.estimators.methods import ESTIMATORS

__all__ = [
    "ESTIMATORS",
    "FED_IN",
    "ORDERS",
    "Bridge",
    "Estimator",
    "Gap",
    "Known",
    "Override",
    "bridge",
    "can_fill",
    "order_for",
]
