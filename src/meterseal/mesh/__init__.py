"""Links between our own processes: calls over mutual TLS, and the second root whose certificates they use.

It carries structs and errors and knows nothing about what they mean.
"""
