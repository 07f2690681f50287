"""RFC 6962 trees: roots, inclusion, consistency, and the multiproof of spec/bundle.md."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofError(Exception):
    """A proof has the wrong number of hashes, or is for another root; at which leaf, where it is one."""

    def __init__(self, detail: str, index: int | None = None) -> None:
        super().__init__(detail)
        self.index = index


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """The largest power of two smaller than `size` (RFC 6962 §2.1)."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(root(leaves[:k]), root(leaves[k:]))


class Growing:
    """Roots of a tree that grows by one leaf; used for R-BASIS-02."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        self.roots: list[bytes] = [EMPTY_ROOT]

    def append(self, leaf: bytes) -> None:
        node = leaf
        size = self.size
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node_hash(peak, result)
        self.roots.append(result)


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError("index outside the tree")
    hashes = list(proof)
    result = _inclusion(index, size, leaf, hashes)
    if hashes:
        raise ProofError("too many hashes")
    return result


def _inclusion(index: int, size: int, leaf: bytes, hashes: list[bytes]) -> bytes:
    """Takes from the end of `hashes`: the last one is the sibling nearest to the root."""
    if size == 1:
        return leaf
    if not hashes:
        raise ProofError("too few hashes")
    sibling = hashes.pop()
    k = split(size)
    if index < k:
        return node_hash(_inclusion(index, k, leaf, hashes), sibling)
    return node_hash(sibling, _inclusion(index - k, size - k, leaf, hashes))


def verify_consistency(first: int, second: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 §2.1.4.2, by recursion over the larger tree."""
    if not 1 <= first <= second:
        raise ProofError("sizes")
    if first == second:
        if proof or root1 != root2:
            raise ProofError("trees of one size")
        return
    hashes = list(proof)
    old, new = _consistency(first, second, True, root1, hashes)
    if hashes:
        raise ProofError("too many hashes")
    if old != root1 or new != root2:
        raise ProofError("other roots")


def _consistency(first: int, size: int, whole: bool, root1: bytes, hashes: list[bytes]) -> tuple[bytes, bytes]:
    """Root of the first `first` leaves and of all, of a subtree of `size` (SUBPROOF of RFC 6962 §2.1.2)."""
    if first == size:
        if whole:
            return root1, root1
        if not hashes:
            raise ProofError("too few hashes")
        node = hashes.pop()
        return node, node
    if not hashes:
        raise ProofError("too few hashes")
    sibling = hashes.pop()
    k = split(size)
    if first <= k:
        old, new = _consistency(first, k, whole, root1, hashes)
        return old, node_hash(new, sibling)
    old, new = _consistency(first - k, size - k, False, root1, hashes)
    return node_hash(sibling, old), node_hash(sibling, new)


def multiproof_root(size: int, leaves: dict[int, bytes], parts: Sequence[Sequence[bytes]]) -> bytes:
    """The root that a bundle's multiproof leads to (spec/bundle.md, Multiproof).

    `parts` are the hashes that stand before each leaf, by ascending index, and last those to the right. Each free
    subtree takes the next hash, and that has to come from the part of the gap in which the subtree lies.
    """
    if not leaves or max(leaves) >= size:
        raise ProofError("leaf outside the tree")
    supply = [list(part) for part in parts]
    order = sorted(leaves)
    starts = [start for start, _ in free_subtrees(size, set(leaves))]
    for at, part in enumerate(parts):
        if sum(bisect_left(order, start) == at for start in starts) != len(part):
            raise ProofError("hashes of a gap", order[at] if at < len(order) else None)
    return _multiproof(0, size, leaves, order, order, supply)


def _multiproof(
    start: int,
    size: int,
    leaves: dict[int, bytes],
    inside: list[int],
    order: list[int],
    supply: list[list[bytes]],
) -> bytes:
    if not inside:
        return supply[bisect_left(order, start)].pop(0)
    if size == 1:
        return leaves[start]
    k = split(size)
    left = [index for index in inside if index < start + k]
    right = [index for index in inside if index >= start + k]
    left_hash = _multiproof(start, k, leaves, left, order, supply)
    return node_hash(left_hash, _multiproof(start + k, size - k, leaves, right, order, supply))


def free_subtrees(size: int, indices: set[int], start: int = 0) -> Iterator[tuple[int, int]]:
    """(start, size) of the maximal subtrees without a leaf of `indices`, from left to right."""
    if not any(start <= index < start + size for index in indices):
        yield start, size
    elif size > 1:
        k = split(size)
        yield from free_subtrees(k, indices, start)
        yield from free_subtrees(size - k, indices, start + k)
