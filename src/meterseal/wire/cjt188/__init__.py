"""Station wire, CJ/T 188 (2004 and 2018): meaning of the frames of water, gas and heat meters.

It is a stranger to DL/T 645; framing and fields are shared and live one level up.
"""

from meterseal.wire.cjt188.interpret import interpret
from meterseal.wire.cjt188.names import function_of, medium_of, type_of

__all__ = ["function_of", "interpret", "medium_of", "type_of"]
