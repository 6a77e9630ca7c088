"""A layered drawing of a graph without cycles: each node right of all that it depends on, with few crossings. Pure."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

WIDTH: Final = 190
HEIGHT: Final = 34
ACROSS: Final = 60
"""Room between two layers."""

DOWN: Final = 12
"""Room between two nodes of a layer."""

MARGIN: Final = 6
SWEEPS: Final = 4
MOST_BENDS: Final = 4000
"""Places that long edges may take in the layers that they cross; beyond these they are drawn straight."""

Place = tuple[float, float]


@attrs.frozen(kw_only=True)
class Drawing:
    """Where everything is.

    Attributes:
        places: Left upper corner of each node.
        edges: For each edge the points that it passes, in the order in which edges were given.
    """

    width: float
    height: float
    places: Mapping[str, Place]
    edges: Sequence[Sequence[Place]]


def draw(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Lay out a graph.

    Args:
        nodes: Their ids, without repeats.
        edges: From and to, both among *nodes*. Nodes of a cycle are put behind all others.
    """
    layer = _layers(nodes, edges)
    chains = _chains(edges, layer)
    order = _ordered(layer, chains)
    tallest = max((len(column) for column in order), default=0)
    places = {
        node: (MARGIN + number * (WIDTH + ACROSS), MARGIN + (row + (tallest - len(column)) / 2) * (HEIGHT + DOWN))
        for number, column in enumerate(order)
        for row, node in enumerate(column)
    }
    return Drawing(
        width=2 * MARGIN + max(0, len(order) * (WIDTH + ACROSS) - ACROSS),
        height=2 * MARGIN + max(0, tallest * (HEIGHT + DOWN) - DOWN),
        places={node: places[node] for node in nodes},
        edges=[_points([places[one] for one in chain]) for chain in chains],
    )


def _layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The number of each node's layer: one more than the highest of those that it depends on."""
    after: dict[str, list[str]] = defaultdict(list)
    waits_for = dict.fromkeys(nodes, 0)
    for start, end in edges:
        after[start].append(end)
        waits_for[end] += 1
    layer = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not waits_for[node]]
    for node in ready:  # grows while it is walked
        for follower in after[node]:
            layer[follower] = max(layer[follower], layer[node] + 1)
            waits_for[follower] -= 1
            if not waits_for[follower]:
                ready.append(follower)
    last = max((layer[node] for node in ready), default=-1)
    return {**layer, **dict.fromkeys(set(nodes) - set(ready), last + 1)}


def _chains(edges: Sequence[tuple[str, str]], layer: dict[str, int]) -> list[list[str]]:
    """Each edge as the nodes that it passes. A long one gets a bend, a node without a box, in each layer between.

    Bends are added to *layer*.
    """
    left, chains = MOST_BENDS, []
    for number, (start, end) in enumerate(edges):
        between = range(layer[start] + 1, layer[end]) if layer[end] - layer[start] - 1 <= left else range(0)
        bends = {f"\0{number}\0{each}": each for each in between}
        layer.update(bends)
        left -= len(bends)
        chains.append([start, *bends, end])
    return chains


def _ordered(layer: Mapping[str, int], chains: Sequence[Sequence[str]]) -> list[list[str]]:
    """Layers with their nodes in order: each near the middle of its neighbours, swept forth and back."""
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node, number in layer.items():
        columns[number].append(node)
    before: dict[str, list[str]] = defaultdict(list)
    after: dict[str, list[str]] = defaultdict(list)
    for chain in chains:
        for start, end in itertools.pairwise(chain):
            before[end].append(start)
            after[start].append(end)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        _sweep(columns if forth else columns[::-1], before if forth else after)
    return columns


def _sweep(columns: Sequence[list[str]], neighbours: Mapping[str, Sequence[str]]) -> None:
    """Sort each column by the middle of its neighbours' places."""
    place: dict[str, float] = {}
    for column in columns:
        own = {node: (n + 0.5) / len(column) for n, node in enumerate(column)}
        middle = {
            node: _mean([place[one] for one in neighbours.get(node, ()) if one in place], own[node]) for node in column
        }
        column.sort(key=middle.__getitem__)
        place.update({node: (n + 0.5) / len(column) for n, node in enumerate(column)})


def _mean(several: Sequence[float], otherwise: float) -> float:
    return sum(several) / len(several) if several else otherwise


def _points(corners: Sequence[Place]) -> list[Place]:
    """Points of an edge: out of the right side of its first node, through its bends, into the left side of its last."""
    middle = [(x, y + HEIGHT / 2) for x, y in corners]
    bends = [point for x, y in middle[1:-1] for point in ((x, y), (x + WIDTH, y))]
    return [(middle[0][0] + WIDTH, middle[0][1]), *bends, middle[-1]]
