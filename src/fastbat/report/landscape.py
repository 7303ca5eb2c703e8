"""The loss around an image: surfaces that turn, their cut along the gradient's sign, three figures each (Figure 3)."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from fastbat.lazy import np
from fastbat.report.budget import stack_names
from fastbat.report.colour import png, ramp
from fastbat.report.svg import Margins, Plot, ticks
from fastbat.results.names import shown, title
from fastbat.results.read import Look

MOST = 6  # surfaces of a page
LEAST_LOSS = 1e-4  # of the logarithmic scale


def surfaces(looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Return what the page shows of each landscape."""
    return [surface(look) for look in with_surface(looks)]


def with_surface(looks: Sequence[Look]) -> list[Look]:
    """Return the first MOST looks with a landscape whose every loss is a number."""
    return [look for look in looks if look.losses is not None and np.isfinite(look.losses).all()][:MOST]


def surface(look: Look) -> dict[str, Any]:
    """Return a landscape: heights, spans in 255ths, its heat map, and three figures."""
    z, steps = look.losses.astype(float), 255 * look.steps.astype(float)
    eps, middle = float(look.about["eps_255"]), len(steps) // 2
    inside = np.abs(steps) <= eps + 1e-6
    edge = int(np.flatnonzero(inside)[-1])
    span = float(z.max() - z.min()) or 1.0
    colours = np.array(ramp(64), np.uint8)
    shares = ((z[::-1] - z.min()) / span * 63.99).astype(int).clip(0, 63)
    return {
        "name": name_of(look),
        "image": look.about.get("landscape_image"),
        "reach": round(float(steps[-1]), 3),
        "eps": eps,
        "z": [[round(float(value), 3) for value in row] for row in z],
        "png": png(colours[shares]),
        "at": f"{z[middle, middle]:.3f}",
        "step": f"{z[edge, middle]:.2f}",
        "inside": f"{z[np.ix_(inside, inside)].max():.2f}",
        "many": many(look),
        "source": look.source + 1,
    }


def many(look: Look) -> str:
    """Return range and bend of the loss in the mean over all images that were looked at; empty in an old record."""
    if not look.flatness:
        return ""
    how = f"range {look.about['loss_range']:.3g}, at most {look.about['loss_bend']:.3g} from its plane"
    return f"Within eps around {look.about['n']:,} images, in the mean: {how}"


def name_of(look: Look) -> str:
    """Return whose landscape it is: of a run its method, the weights unless they are the best epoch's, and the seed."""
    target = str(look.settings.get("target", "the model"))
    if look.trial is None:
        return target
    where = f", {shown(look.checkpoint)}" if look.checkpoint not in ("", "best") else ""
    seed = f", seed {look.trial.seed}" if look.trial.seed else ""
    return f"{title(look.trial)}{where}{seed}"


def profile(looks: Sequence[Look]) -> Markup | None:
    """Return the cuts of the landscapes along the sign of the gradient."""
    drawn = with_surface(looks)
    if not drawn:
        return None
    cuts = [(255 * look.steps.astype(float), look.losses[:, look.losses.shape[1] // 2].astype(float)) for look in drawn]
    reach = max(float(steps[-1]) for steps, _ in cuts)
    lowest = max(LEAST_LOSS, min(float(losses.min()) for _, losses in cuts))
    highest = max(float(losses.max()) for _, losses in cuts)
    plot = Plot(
        360,
        270,
        (-reach, reach),
        (lowest / 1.5, max(highest, lowest) * 1.5),
        Margins(40, 110 if len(drawn) > 1 else 10),
        log="y",
    )
    plot.axis_y(
        [p for p in (1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100) if lowest / 1.5 <= p <= highest * 1.5],
        "cross-entropy (log scale)",
    )
    eps = float(drawn[0].about["eps_255"])
    plot.box((-eps, eps), (lowest / 1.5, max(highest, lowest) * 1.5), "within")
    plot.axis_x(ticks(-reach, reach, 6), "step along the gradient's sign, of 255")
    plot.text(plot.x(0), plot.margins.top + 10, "within the budget", "tick", "middle")
    places = []
    for look, (steps, losses) in zip(drawn, cuts, strict=True):
        points = [(float(a), max(lowest, float(b))) for a, b in zip(steps, losses, strict=True)]
        plot.line(points, "ra")
        places.append((plot.x(points[-1][0]), plot.y(points[-1][1]), name_of(look)))
    if len(drawn) > 1:
        stack_names(plot, places)
    return plot.svg("Loss along the sign of the gradient", ", ".join(map(name_of, drawn)), "wide")
