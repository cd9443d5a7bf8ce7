"""Station wire: bytes of CJ/T 188 and DL/T 645 frames to meaning and back.

No clock, no keys, no input or output: every function here takes bytes or text and returns structs.
"""
