"""Who belongs where, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.answers.memberships import thinned
from bayesgmm.data import Observations
from bayesgmm.errors import DataError, ModelError
from bayesgmm.expectation.pass_over_rows import responsibilities
from bayesgmm.plots.canvas import MOST_ROWS, Backend, Canvas, colour, mixed
from bayesgmm.results.tree import observations_of

if TYPE_CHECKING:
    from bayesgmm.results.result import MixtureResult

#: Rows of a heat map, and draws that it averages.
MOST_PAIRED, MOST_DRAWS = 300, 200


def sampled_rows(result: MixtureResult, data: Any, most: int = MOST_ROWS) -> tuple[Observations, str]:
    """Return at most so many rows, as seen, and what the title has to say of that."""
    rows = observations_of(result.tree) if data is None else result.as_seen(data)
    number = result.n_rows if data is None else len(rows)
    drawn = rows.subsample(most, np.random.default_rng(0))
    return drawn, f"\n({len(drawn):,} of {number:,} rows)" if number > len(drawn) else ""


def memberships(
    result: MixtureResult, *, data: Any = None, ci_prob: float = 0.9, backend: Backend | None = None
) -> Any:
    """Plot the membership of every row in each group, sorted, with its credible interval.

    Parameters
    ----------
    result : MixtureResult
        Of any engine; of a point estimate there are no intervals.
    data : table, optional
        Rows; the fitted ones where not given. Of more than 2,000 a sample is drawn, and the title says so.
    ci_prob : float
        Probability inside the intervals.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    rows, said = sampled_rows(result, data)
    found = result.memberships(rows, ci_prob=ci_prob)
    k = found.sizes["component"]
    canvas = Canvas.of(1, k, backend)
    for c, panel in enumerate(canvas.panels):
        one = found.isel(component=c)
        order = np.argsort(one["probability"].values, kind="stable")
        at = np.arange(len(order))
        if not result.is_point:
            panel.band(at, one["lower"].values[order], one["upper"].values[order], c, alpha=0.35)
        panel.line(at, one["probability"].values[order], color=colour(c), width=2)
        panel.limits(y=(-0.02, 1.02))
        share = "" if result.is_point else f", {100 * ci_prob:.0f} % intervals"
        panel.labels(f"group {c}{share}{said if c == 0 else ''}", "rows, sorted", "membership")
    return canvas.collection


def membership(result: MixtureResult, row: Any, *, data: Any = None, backend: Backend | None = None) -> Any:
    """Plot the posterior distribution of one row's membership in each group.

    Parameters
    ----------
    result : MixtureResult
        With draws.
    row : label
        Its name in the index of the rows, such as ``"C200"`` or 17.
    data : table, optional
        Where the row is; the fitted rows where not given.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection

    Raises
    ------
    DataError
        If there is no such row.
    ModelError
        If the result is a point estimate: its memberships have no distribution.
    """
    if result.is_point:
        raise ModelError("a point estimate has one membership, without a distribution; fit with draws")
    rows: Any = observations_of(result.tree) if data is None else result.as_seen(data)
    at = np.flatnonzero(np.asarray(rows.index) == row)
    if at.size == 0:
        raise DataError(f"no row is called {row!r}; the first are {list(rows.index[:3])}")
    values = responsibilities(result.draws_as_seen(), rows.taken(at[:1]), result.model.covariance_type)[..., 0]
    k = values.shape[-1]
    canvas = Canvas.of(1, k, backend)
    for c, panel in enumerate(canvas.panels):
        heights, edges = np.histogram(values[..., c], bins=40, range=(0, 1), density=True)
        panel.bars(edges, heights, c)
        mean = values[..., c].mean()
        panel.line([mean, mean], [0, max(heights.max(), 1e-9)], c, width=2)
        panel.limits(x=(-0.02, 1.02))
        panel.labels(f"row {row}, group {c}: {mean:.2f} on average", "membership", "posterior density")
    return canvas.collection


def entropy(result: MixtureResult, *, data: Any = None, backend: Backend | None = None) -> Any:
    """Plot, for every row, how unsure it is for overlap of the groups and how unsure for want of data.

    Parameters
    ----------
    result : MixtureResult
        With draws; a point estimate knows overlap alone.
    data : table, optional
        Rows; the fitted ones where not given.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    rows, said = sampled_rows(result, data)
    found = result.memberships(rows)
    k = found.sizes["component"]
    canvas = Canvas.of(1, 1, backend, k, width=5.4)
    for c in range(k):
        here = found["label"].values == c
        overlap, parameter = (found[name].values[here] for name in ("entropy_overlap", "entropy_parameter"))
        canvas.panels[0].points(overlap, np.nan_to_num(parameter), c, alpha=0.7)
    unit = "not known of a point" if result.is_point else "nats"
    canvas.panels[0].labels(f"Why rows are unsure{said}", "overlap of groups (nats)", f"uncertain parameters ({unit})")
    canvas.legend()
    return canvas.collection


def coclustering(result: MixtureResult, *, data: Any = None, backend: Backend | None = None) -> Any:
    """Plot the posterior probability that two rows belong to one group, rows sorted by group.

    Parameters
    ----------
    result : MixtureResult
        Of any engine.
    data : table, optional
        Rows; the fitted ones where not given. Of more than 300 a sample is drawn, and the title says so.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    rows, said = sampled_rows(result, data, MOST_PAIRED)
    draws = thinned(result.draws_as_seen(), MOST_DRAWS)
    together = np.zeros((len(rows), len(rows)))
    total = np.zeros((len(rows), draws.n_components))
    for at in range(len(draws.weights)):
        r = responsibilities(draws[at], rows, result.model.covariance_type).T
        together += r @ r.T
        total += r
    order = np.lexsort((total.max(axis=1), total.argmax(axis=1)))
    together[np.diag_indices_from(together)] = len(draws.weights)
    canvas = Canvas.of(1, 1, backend, width=5.6)
    canvas.panels[0].image(together[np.ix_(order, order)] / len(draws.weights), 0.0, 1.0)
    canvas.panels[0].labels(f"Probability of one group{said}", "rows, by group", "rows, by group")
    return canvas.collection


@dataclass(frozen=True, slots=True, eq=False)
class Coloured:
    """How rows are drawn.

    Attributes
    ----------
    colours : list of str
        Mixed from those of the groups, by membership.
    opacity : array (n,)
        Their certainty.
    label : int array (n,)
        Most probable groups.
    """

    colours: list[str]
    opacity: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, result: MixtureResult, rows: Observations) -> Coloured:
        """Colour rows by their memberships."""
        found = result.memberships(rows)
        certainty = 1 - found["entropy"].values / np.log(max(found.sizes["component"], 2))
        return cls(mixed(found["probability"].values), 0.25 + 0.65 * np.clip(certainty, 0, 1), found["label"].values)
