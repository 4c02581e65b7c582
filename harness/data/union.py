"""Joining what belongs together."""


class Union:
    """Groups of the indices 0 to n - 1, each alone at first.

    Example:
        groups = Union(3); groups.join(2, 1); groups.leaders() == [0, 1, 1]
    """

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def leader(self, index: int) -> int:
        """The lowest index of the group that this one is in."""
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        low, high = sorted((self.leader(one), self.leader(other)))
        self._parent[high] = low

    def leaders(self) -> list[int]:
        """For each index, the lowest of its group."""
        return [self.leader(index) for index in range(len(self._parent))]
