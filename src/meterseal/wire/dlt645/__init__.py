"""Station wire, DL/T 645 (2007 and 1997): meaning of the frames of electricity meters.

It is a stranger to CJ/T 188; framing and fields are shared and live one level up.
"""

from meterseal.wire.dlt645.interpret import interpret
from meterseal.wire.dlt645.names import function_of, is_function

__all__ = ["function_of", "interpret", "is_function"]
