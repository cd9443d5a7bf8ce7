"""Station edge: meters with their modules, and the concentrator that speaks for them.

No meter here knows whether its registers count real water; the head-end serves them and real devices alike.
"""
