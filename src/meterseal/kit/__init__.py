"""Beside the path: streets that do not exist, attacks, benches; everything that plays at being the field.

Nothing outside this package knows that a meter is simulated.
"""
