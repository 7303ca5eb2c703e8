"""The box of Eq. 9 against its definition, {d : |d| <= eps, 0 <= x + d <= 1}, coordinate by coordinate.

Truths: `project` gives the nearest feasible point (no point of a fine grid is nearer), `interior` tells the
strictly inactive coordinates, and float32 keeps both where attacks live: on the faces.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastbat.geometry import Box

ROUNDING = 1e-15  # of x + d in float64, for numbers up to 2
exactly = settings(derandomize=True, database=None, deadline=None, max_examples=300)

pixels = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
budgets = st.one_of(st.sampled_from([2 / 255, 8 / 255, 16 / 255, 1.0]), st.floats(1e-3, 1))
moves = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-2, 2))


def feasible(x: float, d: np.ndarray, eps: float) -> np.ndarray:
    """Return where d is in the box at x, up to rounding: Eq. 9 as it is written."""
    return (np.abs(d) <= eps + ROUNDING) & (x + d >= -ROUNDING) & (x + d <= 1 + ROUNDING)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def images(seed: int, dtype: torch.dtype) -> Tensor:
    """Return pixels (4, 3, 8, 8) of which about a seventh are exactly 0 and a seventh exactly 1."""
    noise = torch.rand(4, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return (1.4 * noise - 0.2).clamp(0, 1)


@exactly
@given(pixels, budgets, moves)
def test_project_gives_the_nearest_feasible_point(x: float, eps: float, delta: float) -> None:
    projected = Box(one(x), eps).project(one(delta)).item()
    grid = np.concatenate([np.linspace(-1, 1, 4001), np.linspace(-eps, eps, 1001), [delta, -x, 1 - x]])
    grid = grid[feasible(x, grid, eps)]
    assert feasible(x, np.array(projected), eps)
    assert abs(projected - delta) <= np.abs(grid - delta).min() + ROUNDING


@exactly
@given(pixels, budgets, moves)
def test_project_leaves_a_projected_point_where_it_is(x: float, eps: float, delta: float) -> None:
    box = Box(one(x), eps)
    once = box.project(one(delta))
    assert torch.equal(box.project(once), once)


@pytest.mark.parametrize(
    ("x", "eps", "delta", "nearest"),
    [
        (0.5, 0.1, 0.3, 0.1),  # the budget binds
        (0.5, 0.1, -0.3, -0.1),
        (0.95, 0.1, 0.3, 0.05),  # the image binds, less room than eps
        (0.05, 0.1, -0.3, -0.05),
        (0.0, 0.1, -0.3, 0.0),  # no room at all
        (1.0, 0.1, 0.3, 0.0),
        (0.0, 0.1, 0.3, 0.1),  # all the room on the other side
        (1.0, 0.1, -0.3, -0.1),
        (0.5, 0.1, 0.07, 0.07),  # inside
    ],
)
def test_project_by_hand(x: float, eps: float, delta: float, nearest: float) -> None:
    assert Box(one(x), eps).project(one(delta)).item() == pytest.approx(nearest, abs=ROUNDING)


@exactly
@given(pixels, budgets, moves)
def test_interior_is_where_all_four_constraints_are_slack(x: float, eps: float, delta: float) -> None:
    box = Box(one(x), eps)
    projected = box.project(one(delta))
    d = projected.item()
    slack = min(eps - d, eps + d, x + d, 1 - x - d)
    if abs(slack - 1e-7) > ROUNDING:  # at the tolerance itself either answer is right
        assert box.interior(projected).item() == float(slack > 1e-7)


@pytest.mark.parametrize(
    ("x", "face", "inward"),
    [
        (0.5, 0.1, -1),  # d = +eps
        (0.5, -0.1, 1),  # d = -eps
        (0.05, -0.05, 1),  # x + d = 0
        (0.95, 0.05, -1),  # x + d = 1
        (0.0, 0.0, 1),  # x = 0: x + d = 0 without a move
        (0.0, 0.1, -1),
        (1.0, 0.0, -1),  # x = 1
        (1.0, -0.1, 1),
    ],
)
def test_a_face_is_1e_7_thick(x: float, face: float, inward: int) -> None:
    box = Box(one(x), 0.1)
    depths = {-1e-9: 0, 0.0: 0, 0.5e-7: 0, 0.99e-7: 0, 1.01e-7: 1, 1e-6: 1, 0.03: 1}
    assert {depth: box.interior(one(face + inward * depth)).item() for depth in depths} == depths


def test_interior_has_the_shape_and_type_of_delta() -> None:
    x = images(0, torch.float32)
    mask = Box(x, 0.1).interior(torch.zeros_like(x))
    assert mask.shape == x.shape
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("eps", [1 / 255, 2 / 255, 8 / 255, 16 / 255])
@pytest.mark.parametrize("seed", range(3))
def test_in_float32_what_is_projected_onto_a_face_is_active(seed: int, eps: float) -> None:
    x = images(seed, torch.float32)
    box = Box(x, eps)
    moved = 3 * eps * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 100))
    projected = box.project(moved)
    outside = projected != moved
    assert 0.1 < outside.float().mean() < 0.9
    assert not box.interior(projected)[outside].any()
    through_image = (x + projected) - x  # rounded twice, as by an attack that returns images
    assert not torch.equal(through_image, projected)
    assert not box.interior(through_image)[outside].any()
    assert box.interior(projected).sum() > 0.9 * (~outside).sum()


@pytest.mark.parametrize("eps", [2 / 255, 8 / 255, 16 / 255, 1.0])
def test_in_float32_a_projected_image_stays_in_0_1(eps: float) -> None:
    x = images(1, torch.float32)
    for delta in (torch.full_like(x, 2.0), torch.full_like(x, -2.0)):
        adversarial = x + Box(x, eps).project(delta)
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1


@pytest.mark.parametrize("draw", [Box.uniform, Box.corner])
@pytest.mark.parametrize("eps", [8 / 255, 0.7])
def test_random_points_are_in_the_box(draw, eps: float) -> None:
    torch.manual_seed(0)
    x = images(2, torch.float64)
    delta = draw(Box(x, eps))
    assert delta.abs().max() <= eps
    assert (x + delta).min() >= -ROUNDING
    assert (x + delta).max() <= 1 + ROUNDING


def test_uniform_is_uniform_on_minus_eps_to_eps_before_it_is_projected() -> None:
    torch.manual_seed(0)
    x, eps = torch.full((10_000,), 0.5, dtype=torch.float64), 0.1
    delta = Box(x, eps).uniform()
    deciles = torch.histc(delta, bins=10, min=-eps, max=eps)
    assert (deciles / 1000 - 1).abs().max() < 4 * 0.03  # 4 sigma of a count of 1000
    edge = Box(torch.zeros_like(x), eps).uniform()  # no room below: half ends on x + d = 0
    assert (edge == 0).double().mean().item() == pytest.approx(0.5, abs=4 * 0.005)


def test_corner_takes_the_values_of_both_faces_and_no_other() -> None:
    torch.manual_seed(0)
    x = images(3, torch.float64)
    eps = torch.full_like(x, 0.1)
    delta = Box(x, 0.1).corner()
    low, high = torch.maximum(-x, -eps), torch.minimum(1 - x, eps)
    at_low, at_high = delta == low, delta == high
    assert (at_low | at_high).all()
    assert at_low.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / x.numel() ** 0.5)
    assert not (at_low & at_high).any()  # every pixel has room on one side at least
