"""Disjoint sets (union-find): groups of indices that grow by merging."""


class DisjointSet:
    """Groups of the indices 0 to n - 1, each alone at first.

    Example:
        groups = DisjointSet(3); groups.union(2, 1); groups.representatives() == [0, 1, 1]
    """

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, index: int) -> int:
        """The lowest index in the group of this index."""
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def union(self, first: int, second: int) -> None:
        """Merge the groups of two indices."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def representatives(self) -> list[int]:
        """The lowest index of the group of each index."""
        return [self.find(index) for index in range(len(self._parent))]
