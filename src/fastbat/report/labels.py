"""Where the names of points go in a crowded chart: greedily, the most crowded point first, at the least overlap."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, top, right, bottom
Label = tuple[float, float, str, bool]  # x, y, anchor, whether a line leads to its point

RINGS = (8, 16, 26, 38, 52, 68)  # how far from its point
ANGLES = (0, 180, -35, 35, 215, 145, -70, 70, 250, 110, -90, 90)


def place_labels(
    points: Sequence[tuple[float, float, str]], taken: Sequence[Box], bounds: Box, size: float
) -> list[Label]:
    """Return a place for the name of each point (x, y, name), off the boxes that are `taken`, within `bounds`."""
    boxes, found = list(taken), dict[int, Label]()
    for k in sorted(range(len(points)), key=lambda k: -crowd(points, k)):
        x, y, text = points[k]
        candidates = [candidate(x, y, text, size, ring, angle) for ring in RINGS for angle in ANGLES]
        inside = [each for each in candidates if within(each[1], bounds)] or candidates[:1]
        best = min(inside, key=lambda each: 3 * sum(overlap(each[1], other) for other in boxes) + each[2])
        boxes.append(best[1])
        found[k] = best[0]
    return [found[k] for k in range(len(points))]


def crowd(points: Sequence[tuple[float, float, str]], k: int) -> int:
    """Return how many points lie near point `k`."""
    x, y, _ = points[k]
    return sum(abs(x - a) < 60 and abs(y - b) < 22 for a, b, _ in points)


def candidate(x: float, y: float, text: str, size: float, ring: float, angle: float) -> tuple[Label, Box, float]:
    """Return a place for a name, its box, and what it costs to be so far out at such an angle."""
    turn = math.radians(angle)
    cx, cy = x + ring * math.cos(turn), y + 1.15 * ring * math.sin(turn)
    anchor = "start" if math.cos(turn) > 0.3 else "end" if math.cos(turn) < -0.3 else "middle"
    wide, tall = 0.52 * size * len(text), 1.08 * size
    left = cx - {"start": 0.0, "end": wide, "middle": wide / 2}[anchor]
    box = (left - 1, cy - tall / 2, left + wide + 1, cy + tall / 2)
    return (cx, cy, anchor, ring > RINGS[0]), box, 14 * RINGS.index(int(ring)) + 0.6 * ANGLES.index(int(angle))


def within(box: Box, bounds: Box) -> bool:
    """Say whether `box` lies in `bounds`."""
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]


def overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall)
