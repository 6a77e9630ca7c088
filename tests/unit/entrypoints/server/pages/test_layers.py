"""The layered drawing of a graph."""

import itertools

from prefect.agent.entrypoints.server.pages.layers import HEIGHT, WIDTH, draw


def test_each_node_is_right_of_what_it_depends_on() -> None:
    """However edges are ordered."""
    edges = [("c", "d"), ("a", "b"), ("b", "c"), ("a", "d")]

    places = draw(["d", "c", "b", "a"], edges).places

    assert all(places[start][0] + WIDTH < places[end][0] for start, end in edges)


def test_nothing_lies_on_anything_else() -> None:
    """Also in a wide layer, and everything is inside the drawing."""
    nodes = [str(number) for number in range(30)]
    drawing = draw(nodes, [("0", node) for node in nodes[1:]])

    for (x, y), (other_x, other_y) in itertools.combinations(drawing.places.values(), 2):
        assert x != other_x or abs(y - other_y) >= HEIGHT
    assert all(x + WIDTH <= drawing.width and y + HEIGHT <= drawing.height for x, y in drawing.places.values())


def test_a_long_edge_does_not_run_through_a_box() -> None:
    """It gets a place of its own in the layers that it crosses."""
    drawing = draw(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    left, top = drawing.places["b"]

    inside = [y for x, y in drawing.edges[2] if left <= x <= left + WIDTH]

    assert len(inside) == 2
    assert all(not top <= y <= top + HEIGHT for y in inside)


def test_edges_of_two_pairs_do_not_cross() -> None:
    """Nodes are ordered by their neighbours."""
    places = draw(["a", "b", "y", "x"], [("a", "x"), ("b", "y")]).places

    assert (places["a"][1] < places["b"][1]) == (places["x"][1] < places["y"][1])


def test_cycles_and_nothing_have_a_drawing() -> None:
    """Nodes of a cycle are behind all others: a flow that is none must not stop the page."""
    places = draw(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "b")]).places

    assert places["a"][0] < places["b"][0] == places["c"][0]
    assert draw([], []).places == {}


def test_very_many_long_edges_are_drawn_straight() -> None:
    """Bends are bounded: what is beyond has none."""
    nodes = [str(number) for number in range(200)]
    chain = list(itertools.pairwise(nodes))
    drawing = draw(nodes, [*chain, *(("0", node) for node in nodes[2:])])

    assert min(len(points) for points in drawing.edges[len(chain) + 1 :]) == 2
