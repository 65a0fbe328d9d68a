"""EM against MCMC: parameters, memberships, predictive density and cost, side by side."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.answers.relabelling import alignment
from bayesgmm.answers.tables import named_values
from bayesgmm.errors import ModelError
from bayesgmm.results.result import MixtureResult
from bayesgmm.results.tree import dataset, observations_of, parameters_of
from bayesgmm.results.words import headline, table_text, verdict, wrapped

if TYPE_CHECKING:
    import pandas as pd

#: A membership above this is called sure.
SURE = 0.99
#: Rows whose memberships are printed.
SHOWN = 8


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """A point estimate beside a posterior.

    Attributes
    ----------
    parameters : DataFrame
        ``point``, ``mean``, ``lower``, ``upper`` of each, and ``inside``: whether the point lies in the interval.
    memberships : DataFrame
        One row per observation, the largest difference first: both labels, the point's largest membership, the
        posterior's in the same component with its interval, and their difference.
    summary : Series
        Counts and means over the rows: labels that differ, rows that the point calls sure (above .99) and the
        posterior does not, the largest difference, log predictive densities per row.
    cost : DataFrame
        Seconds, draws, effective draws and effective draws per second of both.
    headlines : tuple of str
        What was fitted, and whether it can be trusted.
    """

    parameters: pd.DataFrame
    memberships: pd.DataFrame
    summary: pd.Series
    cost: pd.DataFrame
    headlines: tuple[str, ...]

    def _most_different(self) -> pd.DataFrame:
        """Return the first rows, both labels in one column."""
        found = self.memberships.head(SHOWN)
        labels = [
            str(a) if a == b else f"{a} / {b}"
            for a, b in zip(found["point_label"], found["posterior_label"], strict=True)
        ]
        return found.drop(columns=["point_label", "posterior_label"]).assign(label=labels)

    def __repr__(self) -> str:
        parts = [
            *(wrapped(line) for line in self.headlines),
            table_text(self.parameters, "Parameters"),
            table_text(self._most_different(), "Memberships that differ most"),
            table_text(self.summary.to_frame("value").rename_axis("over all rows"), "Summary"),
            table_text(self.cost, "Cost"),
        ]
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        frames = {
            "Parameters": self.parameters,
            "Memberships that differ most": self._most_different(),
            "Summary": self.summary.to_frame("value"),
            "Cost": self.cost,
        }
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.headlines)
        tables = (f"<h4>{t}</h4>{f.to_html(float_format='{:.4g}'.format, na_rep='')}" for t, f in frames.items())
        return f"<div>{said}{''.join(tables)}</div>"


def compare(point: MixtureResult, posterior: MixtureResult, *, ci_prob: float = 0.9) -> Comparison:
    """Put a point estimate and a posterior of the same data side by side.

    Parameters
    ----------
    point : MixtureResult
        From EM; its labels are matched to those of the posterior.
    posterior : MixtureResult
        From a sampler or with draws of an approximation, on the same rows with the same number of components.
    ci_prob : float
        Probability inside the intervals.

    Raises
    ------
    ModelError
        If one is not what its name says, or they are not of the same data and number of components.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> faithful = bg.datasets.load_faithful()
    >>> em = bg.fit(faithful, 2, engine="em", seed=1)
    >>> nuts = bg.fit(faithful, 2, seed=1, progress=False)
    >>> int(bg.compare(em, nuts).summary["labels_differ"])
    0
    """
    _check_pair(point, posterior)
    data, kind = observations_of(posterior.tree), posterior.model.covariance_type
    matched, target = (p.moved(data.origin, data.unit) for p in (point.parameters, posterior.pivot))
    order = alignment(matched, target, data, kind)
    memberships = _memberships(point, posterior, order, ci_prob)
    said = (headline(point), headline(posterior), verdict(posterior))
    return Comparison(
        _parameters(point, posterior, order, ci_prob),
        memberships,
        _summary(point, posterior, memberships),
        _cost(point, posterior),
        said,
    )


def _check_pair(point: Any, posterior: Any) -> None:
    if not isinstance(point, MixtureResult) or not point.is_point:
        raise ModelError("`point` has to be the result of a point estimate, fit(..., engine='em')")
    if not isinstance(posterior, MixtureResult) or posterior.is_point:
        raise ModelError("`posterior` has to be a result with draws, as of fit(..., engine='nuts')")
    if point.model.n_components != posterior.model.n_components:
        k = point.model.n_components, posterior.model.n_components
        raise ModelError(f"`point` has {k[0]} components and `posterior` {k[1]}; compare equal models")
    if point.tree.attrs["data_sha256"] != posterior.tree.attrs["data_sha256"]:
        raise ModelError("`point` and `posterior` were fitted to different data")


def _parameters(point: MixtureResult, posterior: MixtureResult, order: np.ndarray, ci_prob: float) -> pd.DataFrame:
    features = posterior.data.features
    found: Any = posterior.summary(ci_prob=ci_prob)[["mean", "lower", "upper"]]
    values = named_values(point.parameters.permuted(order), features)
    found.insert(0, "point", [float(values[name]) for name in found.index])
    inside = (found["point"] >= found["lower"]) & (found["point"] <= found["upper"])
    return found.assign(inside=np.where(inside, "yes", "NO"))


def _memberships(point: MixtureResult, posterior: MixtureResult, order: np.ndarray, ci_prob: float) -> pd.DataFrame:
    import pandas as pd

    r = point.predict_proba()[:, order]
    soft = posterior.memberships(ci_prob=ci_prob)
    label = r.argmax(axis=1)
    at = np.arange(len(label)), label
    found = pd.DataFrame(
        {
            "point_label": label,
            "posterior_label": soft.label.values,
            "point": r[at],
            "posterior": soft.probability.values[at],
            "lower": soft.lower.values[at],
            "upper": soft.upper.values[at],
        },
        index=pd.Index(posterior.data.index, name="observation"),
    )
    found["difference"] = found["point"] - found["posterior"]
    return found.sort_values("difference", key=np.abs, ascending=False, kind="stable")


def _summary(point: MixtureResult, posterior: MixtureResult, memberships: Any) -> pd.Series:
    import pandas as pd

    sure = memberships["point"] > SURE
    lost = sure & (memberships["posterior"] <= SURE)
    return pd.Series(
        {
            "rows": len(memberships),
            "labels_differ": float((memberships["point_label"] != memberships["posterior_label"]).sum()),
            "sure_by_point": float(sure.sum()),
            "sure_by_point_only": float(lost.sum()),
            "largest_difference": memberships["difference"].abs().max(),
            "log_density_per_row_point": point.log_density().mean(),
            "log_density_per_row_posterior": posterior.log_density().mean(),
        },
        name="summary",
    )


def _cost(point: MixtureResult, posterior: MixtureResult) -> pd.DataFrame:
    import pandas as pd

    draws = float(np.prod(parameters_of(dataset(posterior.tree, "posterior")).grid))
    # Draws of an approximation are independent; how long it took to draw elsewhere is not known.
    effective = posterior.diagnostics()["ess_bulk"].min() if posterior.kind == "posterior" else draws
    rows = {
        "point": {"seconds": point.seconds},
        "posterior": {
            "seconds": posterior.seconds or np.nan,
            "draws": draws,
            "effective_draws": effective,
            "effective_per_second": effective / posterior.seconds if posterior.seconds else np.nan,
        },
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("fit")
