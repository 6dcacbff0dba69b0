"""Items that wait for each other: how long a path each has before it, and circles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def longest_paths(
    items: Sequence[Item],
    dependents: Mapping[Item, Sequence[Item]],
    waits: Mapping[Item, set[Item]],
) -> dict[Item, int]:
    """Return how many items, one after the other, wait at most for each item, itself included.

    Args:
        items: All of them.
        dependents: Item to those that wait for it.
        waits: Item to those that it waits for.

    Raises:
        ValueError: Items wait for each other in a circle.
    """
    open_dependents = {item: len(dependents[item]) for item in items}
    path = dict.fromkeys(items, 1)
    free = [item for item in items if not open_dependents[item]]
    for item in free:  # grows while it is walked
        for parent in waits[item]:
            path[parent] = max(path[parent], path[item] + 1)
            open_dependents[parent] -= 1
            if not open_dependents[parent]:
                free.append(parent)
    if len(free) < len(items):
        circle = _circle(
            [item for item in items if open_dependents[item]], dependents, open_dependents
        )
        raise ValueError(f"items wait for each other in a circle: {' -> '.join(circle)}")
    return path


def _circle(
    items: Sequence[Item],
    dependents: Mapping[Item, Sequence[Item]],
    open_dependents: Mapping[Item, int],
) -> list[str]:
    """Return one circle among items each of which has a dependent among them."""
    walked: dict[Item, int] = {}
    item = items[0]
    while item not in walked:
        walked[item] = len(walked)
        item = next(other for other in dependents[item] if open_dependents[other])
    return [str(other) for other in [*list(walked)[walked[item] :], item]]
