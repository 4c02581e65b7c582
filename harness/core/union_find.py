"""Joining what belongs together."""


class DisjointSet:
    """Groups of the indices 0 to n - 1, each alone at first.

    Example:
        groups = Union(3); groups.join(2, 1); groups.leaders() == [0, 1, 1]
    """

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, index: int) -> int:
        """The lowest index of the group that this one is in."""
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def union(self, first: int, second: int) -> None:
        """Make one group of two."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def representatives(self) -> list[int]:
        """For each index, the lowest of its group."""
        return [self.find(index) for index in range(len(self._parent))]
