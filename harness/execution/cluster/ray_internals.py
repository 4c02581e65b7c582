"""The calls of Ray that are not part of its public interface, and what happens without them."""

from collections.abc import Callable
from typing import Any

import ray


class RayInternals:
    """Reads from the head what Ray 2.60 shows to a driver nowhere else.

    `ray.nodes()` has no field for nodes that will be removed, no handle of an actor tells its node,
    and the state API needs the dashboard. A version without these calls is named once.

    Args:
        say: shows a line to the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._told = say, set[str]()

    def draining_nodes(self) -> set[str]:
        """Ids of the nodes that an autoscaler has announced to remove; without the call none.

        Raises RayError if the head does not answer.
        """
        call = self._find(
            "get_draining_nodes",
            "which nodes an autoscaler will remove: their trials are continued from their last "
            "checkpoint, not saved before",
        )
        return set() if call is None else set(call())

    def node_id_of(self, actor: Any) -> str:
        """Id of the node on which an actor was placed last; "" if it was not, or is gone."""
        call = self._find("actor_table", "on which node an actor was placed")
        entry = None if call is None else call(actor._actor_id.hex())
        return str(entry["Address"]["NodeID"]) if entry else ""

    def _find(self, name: str, fact: str) -> Callable[..., Any] | None:
        try:
            from ray._private.state import state  # noqa: PLC0415  # may be absent

            return getattr(state, name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            if name not in self._told:
                self._told.add(name)
                self._say(f"ray {ray.__version__} does not tell {fact}")
            return None
