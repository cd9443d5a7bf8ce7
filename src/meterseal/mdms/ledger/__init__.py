"""Station MDMS, ledger: what was accepted, in a tree that nobody changes unseen (DESIGN section 5).

Leaves and salts, the tree and its files, signed checkpoints, and the walk that compares the whole store with them.
"""
