"""Where the boxes of a directed graph go: in layers, arrows downwards, few crossings.

Longest-path ranks; one place for an arrow in each layer it passes; barycentre sweeps for
the order within layers; and for the positions, least squares to the neighbours under the
order: boxes never overlap, and no arrow runs through a box.

Reference: Sugiyama, Tagawa & Toda 1981, Methods for Visual Understanding of Hierarchical
System Structures; Gansner et al. 1993, A Technique for Drawing Directed Graphs.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from kauldron._base.svg import Point, Size

_GAP = 26.0
_ROW_GAP = 36.0
_WIRE = 10.0  # width that an arrow takes in a layer it passes
_SWEEPS = 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """Positions of a drawing whose left upper corner is (0, 0).

    Attributes:
      corners: Name -> left upper corner of its box.
      routes: For each arrow, as given, the points it passes: an even number, since it
        runs straight between the first and the second of each pair that lies in a layer.
      size: Of the whole.
    """

    corners: Mapping[str, Point]
    routes: Sequence[Sequence[Point]]
    size: Size


def layered(sizes: Mapping[str, Size], edges: Sequence[tuple[str, str]]) -> Layout:
    """Returns the layout of a graph without cycles.

    Args:
      sizes: Name -> size of its box, in the order that equals are drawn in.
      edges: Arrows, as (from, to).
    """
    ranks = _ranks(list(sizes), edges)
    chains = [_chain(i, edge, ranks) for i, edge in enumerate(edges)]
    rank_of = dict(ranks)
    for chain in chains:
        start = ranks[str(chain[0])]
        rank_of |= {wire: start + n for n, wire in enumerate(chain)}
    layers: list[list[str]] = [[] for _ in range(max(rank_of.values(), default=-1) + 1)]
    for name, rank in rank_of.items():
        layers[rank].append(name)
    links = list(dict.fromkeys(p for c in chains for p in itertools.pairwise(c)))
    layers = _ordered(layers, links)
    widths = {n: sizes[n].width if n in sizes else _WIRE for n in rank_of}
    centers = _centers(layers, links, widths)
    left = min((centers[n] - widths[n] / 2 for n in rank_of), default=0.0)
    tops, heights, y = [], [], 0.0
    for layer in layers:
        tops.append(y)
        heights.append(max((sizes[n].height for n in layer if n in sizes), default=0.0))
        y += heights[-1] + _ROW_GAP
    corners = {
        n: Point(centers[n] - widths[n] / 2 - left, tops[ranks[n]]) for n in sizes
    }
    middles = {n: centers[n] - left for n in rank_of}
    right = max((corners[n].x + sizes[n].width for n in sizes), default=0.0)
    right = max([right, *(middles[n] + _WIRE / 2 for n in rank_of)])
    routes = _routes(chains, middles, sizes, corners, tops, heights, ranks)
    return Layout(corners, routes, Size(right, max(y - _ROW_GAP, 0.0)))


def _ranks(names: list[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Returns the length of the longest way to each; sources are near what reads them."""
    ranks = dict.fromkeys(names, 0)
    for _ in names:
        changed = False
        for start, end in edges:
            if ranks[end] <= ranks[start]:
                ranks[end] = ranks[start] + 1
                changed = True
        if not changed:
            break
    targets = {end for _, end in edges}
    for name in names:
        nexts = [ranks[end] for start, end in edges if start == name]
        if name not in targets and nexts:
            ranks[name] = min(nexts) - 1
    return ranks


def _chain(number: int, edge: tuple[str, str], ranks: Mapping[str, int]) -> list[str]:
    """Returns an arrow as the names it passes: a wire in each layer in between."""
    start, end = edge
    wires = range(ranks[start] + 1, ranks[end])
    return [start, *(f"{number}:{rank}" for rank in wires), end]


def _ordered(
    layers: list[list[str]], links: Sequence[tuple[str, str]]
) -> list[list[str]]:
    """Returns the layers with the fewest crossings that sweeps find."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for start, end in links:
        above.setdefault(end, []).append(start)
        below.setdefault(start, []).append(end)
    best, fewest = layers, _num_crossings(layers, below)
    current = layers
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        turn = list(current) if downwards else list(reversed(current))
        for i in range(1, len(turn)):
            place = {name: n for n, name in enumerate(turn[i - 1])}
            turn[i] = _by_barycentre(turn[i], place, neighbours)
        current = turn if downwards else list(reversed(turn))
        crossings = _num_crossings(current, below)
        if crossings < fewest:
            best, fewest = current, crossings
    return best


def _by_barycentre(
    layer: list[str], place: Mapping[str, int], neighbours: Mapping[str, list[str]]
) -> list[str]:
    def mean(item: tuple[int, str]) -> float:
        position, name = item
        places = [place[n] for n in neighbours.get(name, ()) if n in place]
        return sum(places) / len(places) if places else position

    return [name for _, name in sorted(enumerate(layer), key=mean)]


def _num_crossings(
    layers: Sequence[Sequence[str]], below: Mapping[str, list[str]]
) -> int:
    total = 0
    for upper, lower in itertools.pairwise(layers):
        place = {name: i for i, name in enumerate(lower)}
        ends = [
            end
            for name in upper
            for end in sorted(place[n] for n in below.get(name, ()))
        ]
        total += sum(a > b for a, b in itertools.combinations(ends, 2))
    return total


def _centers(
    layers: Sequence[Sequence[str]],
    links: Sequence[tuple[str, str]],
    widths: Mapping[str, float],
) -> dict[str, float]:
    """Returns the middle of everything, from left to right as ordered."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for start, end in links:
        above.setdefault(end, []).append(start)
        below.setdefault(start, []).append(end)
    centers: dict[str, float] = {}
    for layer in layers:
        x = -sum(widths[n] + _GAP for n in layer) / 2
        for name in layer:
            centers[name] = x + widths[name] / 2
            x += widths[name] + _GAP

    def pull(name: str, others: Sequence[str]) -> float:
        """Where it wants to be; above all, wires want to be straight."""
        weights = [9.0 if widths[n] == _WIRE == widths[name] else 1.0 for n in others]
        pairs = zip(weights, others, strict=True)
        total = sum(weight * centers[n] for weight, n in pairs)
        return total / sum(weights) if others else centers[name]

    for sweep in range(4 * _SWEEPS):
        downwards = sweep % 2 == 0
        first, second = (above, below) if downwards else (below, above)
        # What follows one neighbour keeps long lines straight; both, at last, even out.
        both = sweep >= 3 * _SWEEPS
        for layer in layers if downwards else reversed(layers):
            wanted = []
            for name in layer:
                near = first.get(name, [])
                if both or not near:
                    near = [*near, *second.get(name, [])]
                wanted.append(pull(name, near))
            weights = [9.0 if widths[n] == _WIRE else 1.0 for n in layer]
            steps = [
                (widths[a] + widths[b]) / 2 + _GAP for a, b in itertools.pairwise(layer)
            ]
            placed = _spread(wanted, weights, steps)
            centers |= dict(zip(layer, placed, strict=True))
    return centers


def _spread(
    wanted: Sequence[float], weights: Sequence[float], steps: Sequence[float]
) -> list[float]:
    """Returns the positions nearest to those wanted, at least `steps` apart.

    Least squares by pooling neighbours that are too near to each other.
    """
    offsets = [0.0, *itertools.accumulate(steps)]
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, total, count = want - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, its_total, its_count = blocks.pop()
            mean = (mean * total + other * its_total) / (total + its_total)
            total, count = total + its_total, count + its_count
        blocks.append((mean, total, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _routes(
    chains: Sequence[Sequence[str]],
    middles: Mapping[str, float],
    sizes: Mapping[str, Size],
    corners: Mapping[str, Point],
    tops: Sequence[float],
    heights: Sequence[float],
    ranks: Mapping[str, int],
) -> list[list[Point]]:
    """Returns the points of each arrow; where arrows meet a box they stand side by side."""
    leaving = _ports(chains, 0, 1, middles, sizes, corners)
    arriving = _ports(chains, -1, -2, middles, sizes, corners)
    routes = []
    for number, chain in enumerate(chains):
        start, end = chain[0], chain[-1]
        rank = ranks[start]
        points = [Point(leaving[number], tops[rank] + sizes[start].height)]
        points.append(Point(leaving[number], tops[rank] + heights[rank]))
        for n, wire in enumerate(chain[1:-1], rank + 1):
            points.append(Point(middles[wire], tops[n]))
            points.append(Point(middles[wire], tops[n] + heights[n]))
        routes.append([*points, Point(arriving[number], tops[ranks[end]])])
    return routes


def _ports(
    chains: Sequence[Sequence[str]],
    at: int,
    towards: int,
    middles: Mapping[str, float],
    sizes: Mapping[str, Size],
    corners: Mapping[str, Point],
) -> dict[int, float]:
    ends: dict[str, list[int]] = {}
    for number, chain in enumerate(chains):
        ends.setdefault(chain[at], []).append(number)
    ports = {}
    for name, numbers in ends.items():
        numbers.sort(key=lambda n: (middles[chains[n][towards]], n))
        step = min(sizes[name].width / (len(numbers) + 1), 28.0)
        first = corners[name].x + sizes[name].width / 2 - step * (len(numbers) - 1) / 2
        ports |= {number: first + i * step for i, number in enumerate(numbers)}
    return ports
