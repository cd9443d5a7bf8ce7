"""What a utility does with readings: usage information, tariffs, bills and the customers they are for.

It does not validate or store readings (mdms), and it does not decide who may see them (people).
"""
