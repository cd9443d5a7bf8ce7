"""The control store, beside the path: assets, sessions, people, tariffs, bills, manifest and audit.

It holds no measurement and no open secret: readings live in sealed segments, names and keys are ciphertext.
"""

from meterseal.control.engine import open_control, read, write

__all__ = ["open_control", "read", "write"]
