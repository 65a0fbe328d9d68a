"""How fits went, and how far they can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.errors import ModelError
from bayesgmm.plots.canvas import MOST_ROWS, Backend, Canvas, colour
from bayesgmm.results.tree import dataset

if TYPE_CHECKING:
    from bayesgmm.results.result import MixtureResult
    from bayesgmm.studies.calibration import Calibration
    from bayesgmm.studies.compare import Comparison

#: Parameters of a forest.
MOST_PARAMETERS = 40


def em_trace(result: MixtureResult, *, backend: Backend | None = None) -> Any:
    """Plot the log posterior (or log-likelihood) at each iteration of EM.

    Parameters
    ----------
    result : MixtureResult
        Of EM.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection

    Raises
    ------
    ModelError
        If the result is not EM's.
    """
    if "trace" not in result.tree.children:
        raise ModelError("only a result of EM has iterations; fit with engine='em'")
    values = dataset(result.tree, "trace")["log_posterior"].values
    canvas = Canvas.of(1, 2, backend)
    what = "log-likelihood" if result.model.is_flat else "log posterior"
    at = np.arange(len(values))
    canvas.panels[0].connected(at, values)
    canvas.panels[0].labels("EM", "iteration", f"{what} (nats)")
    # Gains that rounding has eaten have no logarithm.
    gains = np.where(np.diff(values) > 0, np.diff(values), np.nan)
    canvas.panels[1].connected(at[1:], np.log10(gains))
    canvas.panels[1].labels("Each iteration gains", "iteration", f"log10 of gain in {what}")
    return canvas.collection


def comparison(compared: Comparison, *, backend: Backend | None = None) -> Any:
    """Plot memberships of a point estimate against those of draws, and parameters with their intervals.

    Parameters
    ----------
    compared : Comparison
        What `compare` returns.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    canvas = Canvas.of(1, 2, backend, width=5.4)
    left, right = canvas.panels
    rows = compared.memberships
    rows = rows.iloc[:: max(1, len(rows) // MOST_ROWS)]
    x, y = rows["point"].to_numpy(), rows["posterior"].to_numpy()
    left.line([0, 1], [0, 1], width=1)
    left.lines(np.stack([x, x], axis=1), rows[["lower", "upper"]].to_numpy(), width=0.5, alpha=0.5, color=colour(0))
    left.points(x, y, 0)
    left.labels("Memberships", "EM", "posterior mean and interval")
    found = compared.parameters.iloc[:MOST_PARAMETERS][::-1]
    at = np.arange(len(found))
    middle, half = found["mean"].to_numpy(), (found["upper"] - found["lower"]).to_numpy() / 2
    scale = np.where(half > 0, half, 1.0)
    ends = (found[["lower", "upper"]].to_numpy() - middle[:, None]) / scale[:, None]
    right.lines(ends, np.stack([at, at], axis=1), color=colour(0))
    right.points(np.zeros(len(at)), at, 0)
    right.points((found["point"].to_numpy() - middle) / scale, at, 1)
    right.y_ticks(at, [str(name) for name in found.index])
    right.labels("EM (square) in the posterior's interval", "distance from the mean, in half intervals", "")
    return canvas.collection


def calibration(calibrated: Calibration, *, backend: Backend | None = None) -> Any:
    """Plot what was said against what happened, for each engine.

    Parameters
    ----------
    calibrated : Calibration
        What `calibrate` returns.
    backend : {"matplotlib", "plotly", "none"}, optional
        ArviZ's setting where not given.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    engines = list(dict.fromkeys(calibrated.reliability.index.get_level_values(0)))
    canvas = Canvas.of(1, len(engines), backend)
    for number, (name, panel) in enumerate(zip(engines, canvas.panels, strict=True)):
        found = calibrated.reliability.loc[name]
        panel.line([0, 1], [0, 1], width=1)
        said, happened = (found[column].to_numpy() for column in found.columns[:2])
        panel.connected(said, happened, number)
        panel.labels(str(name), "membership said", "share that happened")
    return canvas.collection
