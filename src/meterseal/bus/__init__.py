"""The bus between head-end and platform: a batch is answered once it is durably committed.

It stores nothing of its own in the embedded form; what is behind it does.
"""
