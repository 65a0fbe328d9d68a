"""The groups themselves: their density, where they lie, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, norm

from bayesgmm.errors import DataError
from bayesgmm.memberships import thinned
from bayesgmm.parameters import MixtureParameters
from bayesgmm.plots.canvas import Backend, Canvas, Panel
from bayesgmm.plots.membership import row_colours, sampled_rows
from bayesgmm.schema import dataset, parameters_of

if TYPE_CHECKING:
    from bayesgmm.result import MixtureResult

#: Draws of which curves and ellipses are shown, and points of a curve.
MOST_CURVES, MOST_ELLIPSES, POINTS = 400, 40, 300
#: Rows whose points are drawn large.
FEW_ROWS = 500
#: Features of a pairs plot.
MOST_FEATURES = 6


def in_units(result: MixtureResult, most: int) -> MixtureParameters:
    """Return at most so many relabelled draws, in data units."""
    return thinned(parameters_of(dataset(result.relabelled().tree, "posterior")), most)


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
    canvas = Canvas.of(1, len(at), backend, result.model.n_components)
    for j, panel in zip(at, canvas.panels, strict=True):
        draw_density(panel, result, j, ci_prob)
    canvas.legend()
    return canvas.collection


def draw_density(panel: Panel, result: MixtureResult, j: int, ci_prob: float) -> None:
    """Draw one feature's density."""
    rows, said = sampled_rows(result, None)
    x = rows.values[:, j]
    name = result.data.features[j]
    bins = np.histogram_bin_edges(x, "auto" if len(x) < 500 else 60)
    heights, edges = np.histogram(x, bins, weights=rows.sample_weight, density=True)
    panel.bars(edges, heights, None, alpha=0.12)
    margin = 0.1 * np.ptp(x)
    grid = np.linspace(x.min() - margin, x.max() + margin, POINTS)
    each = marginal(in_units(result, MOST_CURVES), j, grid)
    whole = each.sum(axis=1)
    if not result.is_point:
        tail = (1 - ci_prob) / 2
        low, high = np.quantile(whole, [tail, 1 - tail], axis=0)
        panel.band(grid, low, high)
        for c in range(each.shape[1]):
            low, high = np.quantile(each[:, c], [tail, 1 - tail], axis=0)
            panel.band(grid, low, high, c)
    panel.line(grid, whole.mean(axis=0), width=1)
    for c in range(each.shape[1]):
        panel.line(grid, each[:, c].mean(axis=0), c, width=2)
    panel.labels(f"{name}{said}", name, "density")


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
    draw_components(canvas.panels[0], result, i, j, data, ci_prob)
    canvas.legend()
    return canvas.collection


def draw_components(panel: Panel, result: MixtureResult, i: int, j: int, data: Any, ci_prob: float) -> None:
    """Draw the rows and ellipses of two features."""
    rows, said = sampled_rows(result, data)
    colours, opacity, label = row_colours(result, rows)
    size = 22 if len(rows) <= FEW_ROWS else 8
    for c in range(result.model.n_components):
        here = np.flatnonzero(label == c)
        if here.size:
            x, y = rows.values[here, i], rows.values[here, j]
            panel.points(x, y, c, facecolor=[colours[row] for row in here], alpha=opacity[here], size=size)
    draws = in_units(result, MOST_ELLIPSES)
    for c in range(result.model.n_components):
        each = [ellipse(draws.means[s, c], draws.covariances[s, c], i, j, ci_prob) for s in range(len(draws.weights))]
        if not result.is_point:
            # One line with gaps, for hundreds of lines make a figure slow.
            many = np.concatenate([np.vstack([e, np.full((1, 2), np.nan)]) for e in each])
            panel.line(many[:, 0], many[:, 1], c, width=0.6, alpha=0.45)
        middle = ellipse(draws.means[:, c].mean(axis=0), draws.covariances[:, c].mean(axis=0), i, j, ci_prob)
        panel.line(middle[:, 0], middle[:, 1], c, width=2.2)
    names = result.data.features
    panel.labels(f"{100 * ci_prob:.0f} % of each group{said}", names[i], names[j])


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
    names = result.data.features
    canvas = Canvas.of(len(at), len(at), backend, result.model.n_components, width=3.8)
    for number, panel in enumerate(canvas.panels):
        row, column = divmod(number, len(at))
        if row == column:
            draw_density(panel, result, at[row], ci_prob)
        elif column < row:
            draw_components(panel, result, at[column], at[row], None, ci_prob)
            panel.labels("", names[at[column]], names[at[row]])
        else:
            panel.off()
    canvas.legend()
    return canvas.collection
