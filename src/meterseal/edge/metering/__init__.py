"""Station edge, how a meter behaves whatever it speaks: (design, state, input, now) -> outcome, pure and durable.

It knows no frame, no key and no clock but the one it is handed; `edge.meter` and its media put it on a bus.
"""
