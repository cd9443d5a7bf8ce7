"""Process `keys`: the key tree, the certificates and every act with a long-term key; its SDK is the only
way in.

It sees no reading, no name and no address (DESIGN section 2).
"""
