"""Beside the path: benchmarks, each beside what bounds it in the same run.

They decide nothing and promise nothing: a figure belongs to the machine and the moment that the report names.
"""
