"""Disjoint sets (union-find): groups of indices that are merged (Tarjan 1975)."""


class DisjointSet:
    """Groups of the indices 0 to n - 1; at first each index is a group.

    Example:
        groups = DisjointSet(3); groups.union(2, 1); groups.representatives() == [0, 1, 1]
    """

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, index: int) -> int:
        """Lowest index in the group of this index."""
        while self._parent[index] != index:
            # Path halving: each step shortens the path for later calls (Tarjan, van Leeuwen 1984).
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def union(self, first: int, second: int) -> None:
        """Merge the groups of two indices."""
        # The lower root remains the root, not that of the larger group: callers need the lowest
        # index, and groups must not depend on the order of merges.
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def representatives(self) -> list[int]:
        """Lowest index of the group of each index."""
        return [self.find(index) for index in range(len(self._parent))]
