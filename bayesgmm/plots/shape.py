"""The groups themselves: their density, where they lie, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, norm

from bayesgmm.answers.memberships import thinned
from bayesgmm.errors import DataError
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.plots.canvas import Backend, Canvas, Panel
from bayesgmm.plots.membership import Coloured, sampled_rows

if TYPE_CHECKING:
    from bayesgmm.data import Observations
    from bayesgmm.results.result import MixtureResult

#: Draws of which curves and ellipses are shown, and points of a curve.
MOST_CURVES, MOST_ELLIPSES, POINTS = 400, 40, 300
#: Rows whose points are drawn large.
FEW_ROWS = 500
#: Features of a pairs plot.
MOST_FEATURES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What figures of one result draw, computed once for all panels.

    Attributes
    ----------
    rows : Observations
        A sample, if there are many.
    said : str
        What a title has to say of that.
    draws : MixtureParameters
        Relabelled, in data units: grid (draw,).
    is_point : bool
        Whether the only draw is a point estimate.
    ci_prob : float
        Probability inside bands, and share of a group's rows inside its ellipse.
    """

    rows: Observations
    said: str
    draws: MixtureParameters
    is_point: bool
    ci_prob: float

    @classmethod
    def of(cls, result: MixtureResult, data: Any, ci_prob: float) -> Shown:
        """Sample rows and draws."""
        rows, said = sampled_rows(result, data)
        return cls(rows, said, thinned(result.draws(), MOST_CURVES), result.is_point, ci_prob)


def chosen(result: MixtureResult, features: Any, number: int | None = None) -> list[int]:
    """Return the columns of features that were asked for, or the first so many.

    Raises
    ------
    DataError
        If there are no such features, or too few.
    """
    names = list(result.data.features)
    wanted = (
        names[: number or len(names)]
        if features is None
        else [features]
        if isinstance(features, str)
        else list(features)
    )
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise DataError(f"no feature is called {unknown[0]!r}; there are {names}")
    if number is not None and len(wanted) != number:
        raise DataError(f"this figure shows {number} features, got {wanted}; the fit has {names}")
    return [names.index(name) for name in wanted]


def density(
    result: MixtureResult, *, features: Any = None, ci_prob: float = 0.9, backend: Backend | None = None
) -> Any:
    """Plot the density of each feature with its credible band, the groups under it, over a histogram of the rows.

    Parameters
    ----------
    result : MixtureResult
        Of any engine.
    features : str or list of str, optional
        All (at most six) where not given; of several features the densities are marginal.
    ci_prob : float
        Probability inside the bands.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    at = chosen(result, features)[:MOST_FEATURES]
    shown = Shown.of(result, None, ci_prob)
    canvas = Canvas.of(1, len(at), backend, result.model.n_components)
    for j, panel in zip(at, canvas.panels, strict=True):
        draw_density(panel, shown, j)
    canvas.legend()
    return canvas.collection


def draw_density(panel: Panel, shown: Shown, j: int) -> None:
    """Draw one feature's density."""
    x, name = shown.rows.values[:, j], shown.rows.features[j]
    bins = np.histogram_bin_edges(x, "auto" if len(x) < 500 else 60)
    heights, edges = np.histogram(x, bins, weights=shown.rows.sample_weight, density=True)
    panel.bars(edges, heights, None, alpha=0.12)
    grid = around(x)
    each = marginal(shown.draws, j, grid)
    whole = each.sum(axis=1)
    if not shown.is_point:
        tail = (1 - shown.ci_prob) / 2
        for c, density in ((None, whole), *((c, each[:, c]) for c in range(each.shape[1]))):
            low, high = np.quantile(density, [tail, 1 - tail], axis=0)
            panel.band(grid, low, high, c)
    panel.line(grid, whole.mean(axis=0), width=1)
    for c in range(each.shape[1]):
        panel.line(grid, each[:, c].mean(axis=0), c, width=2)
    panel.labels(f"{name}{shown.said}", name, "density")


def around(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " point"]:
    """Return points of a curve from a little below the least value to a little above the largest."""
    margin = 0.1 * np.ptp(x)
    return np.linspace(x.min() - margin, x.max() + margin, POINTS)


def marginal(draws: MixtureParameters, j: int, grid: np.ndarray) -> Float[np.ndarray, "draw k point"]:
    """Return the density of one feature in each group of each draw, times its weight."""
    sd = np.sqrt(draws.covariances[..., j, j])[..., None]
    return draws.weights[..., None] * norm.pdf((grid - draws.means[..., j, None]) / sd) / sd


def components(
    result: MixtureResult,
    *,
    features: Any = None,
    data: Any = None,
    ci_prob: float = 0.9,
    backend: Backend | None = None,
) -> Any:
    """Plot two features of the rows, coloured by membership, and the ellipse of each group in several draws.

    Opacity of a point is its certainty; the spread of the thin ellipses is that of the posterior.

    Parameters
    ----------
    result : MixtureResult
        Of at least two features.
    features : list of two str, optional
        The first two where not given.
    data : table, optional
        Rows; the fitted ones where not given.
    ci_prob : float
        Share of a group's rows inside its ellipse.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection

    Raises
    ------
    DataError
        If there are not two such features.
    """
    i, j = chosen(result, features, 2)
    canvas = Canvas.of(1, 1, backend, result.model.n_components, width=5.6)
    shown = Shown.of(result, data, ci_prob)
    draw_components(canvas.panels[0], shown, Coloured.of(result, shown.rows), i, j)
    canvas.panels[0].labels(
        f"{100 * ci_prob:.0f} % of each group{shown.said}", *(shown.rows.features[f] for f in (i, j))
    )
    canvas.legend()
    return canvas.collection


def draw_components(panel: Panel, shown: Shown, coloured: Coloured, i: int, j: int) -> None:
    """Draw the rows and ellipses of two features."""
    rows, draws = shown.rows, thinned(shown.draws, MOST_ELLIPSES)
    size = 22 if len(rows) <= FEW_ROWS else 8
    for c in range(draws.n_components):
        here = np.flatnonzero(coloured.label == c)
        if here.size:
            x, y = rows.values[here, i], rows.values[here, j]
            colours = [coloured.colours[row] for row in here]
            panel.points(x, y, c, facecolor=colours, alpha=coloured.opacity[here], size=size)
    for c in range(draws.n_components):
        means, covariances = draws.means[:, c], draws.covariances[:, c]
        if not shown.is_point:
            each = [ellipse(m, v, i, j, shown.ci_prob) for m, v in zip(means, covariances, strict=True)]
            lines = np.array(each)
            panel.lines(lines[..., 0], lines[..., 1], c, width=0.6, alpha=0.45)
        middle = ellipse(means.mean(axis=0), covariances.mean(axis=0), i, j, shown.ci_prob)
        panel.line(middle[:, 0], middle[:, 1], c, width=2.2)
    panel.labels(x=rows.features[i], y=rows.features[j])


def ellipse(
    mean: np.ndarray, covariance: np.ndarray, i: int, j: int, prob: float, points: int = 80
) -> Float[np.ndarray, "point 2"]:
    """Return the ellipse that holds a share of a normal's two features."""
    at = np.ix_([i, j], [i, j])
    angle = np.linspace(0, 2 * np.pi, points)
    circle = np.sqrt(chi2.ppf(prob, 2)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return mean[[i, j]] + circle @ np.linalg.cholesky(covariance[at]).T


def pairs(result: MixtureResult, *, features: Any = None, ci_prob: float = 0.9, backend: Backend | None = None) -> Any:
    """Plot every pair of features as `components` does, with their densities on the diagonal.

    Parameters
    ----------
    result : MixtureResult
        Of at least two features.
    features : list of str, optional
        The first six where not given.
    ci_prob : float
        Share of a group's rows inside its ellipse, and probability inside the bands.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection

    Raises
    ------
    DataError
        If there is only one feature.
    """
    at = chosen(result, features)[:MOST_FEATURES]
    if len(at) < 2:
        raise DataError("a pairs plot needs at least two features; use plots.density")
    shown = Shown.of(result, None, ci_prob)
    coloured = Coloured.of(result, shown.rows)
    canvas = Canvas.of(len(at), len(at), backend, result.model.n_components, width=3.8)
    for number, panel in enumerate(canvas.panels):
        row, column = divmod(number, len(at))
        if row == column:
            draw_density(panel, shown, at[row])
        elif column < row:
            draw_components(panel, shown, coloured, at[column], at[row])
        else:
            panel.off()
    canvas.legend()
    return canvas.collection
