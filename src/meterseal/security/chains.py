"""Chains that devices show: which leaf stands at their end, and what need not be proven a second time.

It issues nothing, and keeps no list and no revocation; `issuer` says which CA and lists are in force and looks at
revocations itself.

A CA is proven by OpenSSL, with a chain under it, once per root's list and own list; a leaf of the shape that we issue
costs one signature then, and none when it was proven before; any other chain is OpenSSL's again. Validity of root, CA,
lists and leaf is looked at every time.
"""

from __future__ import annotations

from collections import OrderedDict

from meterseal.crypto import certificates
from meterseal.crypto.proven import Authority, Leaf
from meterseal.crypto.symmetric import sm3

_REMEMBERED = 65_536
"""Leaves, those asked for last, at about 700 bytes each."""


class DeviceChains:
    """What was proven so far, under one set of CAs."""

    def __init__(self) -> None:
        self._authorities: dict[bytes, Authority] = {}
        self._leaves: OrderedDict[bytes, Leaf] = OrderedDict()

    def forget(self) -> None:
        """The CAs have changed: nothing is proven any more."""
        self._authorities.clear()
        self._leaves.clear()

    def leaf(
        self, chain: list[bytes], *, root: bytes, lists: tuple[bytes, bytes], now: int, ours: bool
    ) -> Leaf:
        """The leaf of a chain that holds at `now` under the root and the lists of root and CA; `ours` says that its CA
        is one of those in force. TrustError `crypto.*`.
        """
        authority = self._authorities.get(chain[1]) if ours else None
        if authority is not None and not authority.holds(lists, now):
            authority = None
        place = sm3(len(chain[0]).to_bytes(4), *chain) if ours else b""
        leaf = None
        if authority is not None:
            leaf = self._leaves.get(place) or authority.leaf(chain[0])
            if leaf is not None and not leaf.since + 1000 <= now <= leaf.until - 1000:
                leaf = None  # OpenSSL says of which end it is too far
        if leaf is None and ours and authority is None:
            self._authorities[chain[1]], leaf = Authority.proved_by(chain, root=root, at=now, crls=lists)
        elif leaf is None:
            leaf = Leaf.of(certificates.verify_chain(chain, root=root, purpose="device", at=now, crls=lists))
        if ours:
            self._leaves[place] = leaf
            self._leaves.move_to_end(place)
            while len(self._leaves) > _REMEMBERED:
                self._leaves.popitem(last=False)
        return leaf
