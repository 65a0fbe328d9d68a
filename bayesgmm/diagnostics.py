"""Diagnostics that labels cannot fool: quantities that no permutation of components changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayesgmm.data import Observations
from bayesgmm.estep import log_densities, responsibilities
from bayesgmm.parameters import CovarianceType, MixtureParameters

if TYPE_CHECKING:
    import pandas as pd

#: What a posterior has to reach before its numbers are used (Vehtari et al. 2021, doi:10.1214/20-BA1221).
LARGEST_R_HAT, SMALLEST_ESS = 1.01, 400
#: Above this, smoothed importance weights are no longer reliable (Vehtari et al. 2024, arXiv:1507.02646).
LARGEST_K_HAT = 0.7
#: A chain whose mean log posterior is so many standard deviations below the best one's is stuck.
STUCK_DEVIATIONS = 3.0
#: Rows at which densities and co-memberships are followed.
ANCHORS = 4


def invariants(
    parameters: MixtureParameters, data: Observations, kind: CovarianceType
) -> dict[str, Float[np.ndarray, "chain draw"]]:
    """Return label-invariant functions of each draw.

    Parameters and data are in standardised coordinates, in which these quantities have no unit.
    """
    w, m, c = parameters.weights, parameters.means, parameters.covariances
    mean = np.einsum("...k,...kd->...d", w, m)
    second = np.einsum("...k,...kd->...d", w, m**2 + np.diagonal(c, axis1=-2, axis2=-1))
    log_det = np.linalg.slogdet(c)[1]
    found = {"sum_squared_weights": (w**2).sum(axis=-1), "largest_weight": w.max(axis=-1)}
    found |= {"log_det_smallest": log_det.min(axis=-1), "log_det_largest": log_det.max(axis=-1)}
    for j, name in enumerate(data.features):
        found[f"mixture_mean[{name}]"] = mean[..., j]
        found[f"mixture_sd[{name}]"] = np.sqrt(second[..., j] - mean[..., j] ** 2)
    return found | _at_anchors(parameters, data, kind)


def _at_anchors(
    parameters: MixtureParameters, data: Observations, kind: CovarianceType
) -> dict[str, Float[np.ndarray, "chain draw"]]:
    """Return the log density at rows spread over the first feature, and how they go together."""
    at = np.argsort(data.values[:, 0], kind="stable")[np.linspace(0, len(data) - 1, ANCHORS).astype(int)]
    rows = data.taken(at)
    density, r = log_densities(parameters, rows, kind), responsibilities(parameters, rows, kind)
    found = {f"log_density[{data.index[i]}]": density[..., a] for a, i in enumerate(at)}
    if parameters.n_components > 1:
        for a in range(len(at) - 1):
            name = f"together[{data.index[at[a]]}, {data.index[at[a + 1]]}]"
            found[name] = (r[..., a] * r[..., a + 1]).sum(axis=-1)
    return found


def table(quantities: dict[str, Float[np.ndarray, "chain draw"]]) -> pd.DataFrame:
    """Return mean, sd, R-hat and effective sample sizes of each quantity, by ArviZ."""
    import arviz as az
    import pandas as pd

    rows = {}
    for name, values in quantities.items():
        row = {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
        # What never varies, such as the weight of a single component, has neither.
        if np.ptp(values) > 0:
            row["r_hat"] = float(az.rhat(values))
            row["ess_bulk"] = float(az.ess(values, method="bulk"))
            row["ess_tail"] = float(az.ess(values, method="tail", prob=(0.05, 0.95)))
        rows[name] = row
    columns = ["mean", "sd", "r_hat", "ess_bulk", "ess_tail"]
    return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).rename_axis("quantity")


def smoothed_importance_weights(log_ratios: Float[np.ndarray, " m"]) -> tuple[Float[np.ndarray, " m"], float]:
    """Return importance weights that sum to one, their largest smoothed, and Pareto's k-hat, by ArviZ."""
    from arviz_stats.base.array import array_stats

    # A ratio of 0 is a draw where the posterior is nothing.
    floor = np.nan_to_num(log_ratios, nan=-np.inf, neginf=-np.inf)
    # ArviZ smooths the weights of leave-one-out, which are minus log-likelihoods.
    log_weights, k_hat = array_stats.psislw(-np.maximum(floor, floor.max() - 700.0))
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum(), float(k_hat)


def doubts(facts: dict[str, float]) -> list[str]:
    """Return a sentence for each thing that keeps an approximation about a point from being trusted."""
    said = []
    if facts.get("k_hat", 0.0) > LARGEST_K_HAT:
        said.append(
            f"k-hat is {facts['k_hat']:.2f} (above {LARGEST_K_HAT}): the Laplace approximation is too far from the "
            "posterior to be reweighted; use engine='nuts' or 'gibbs'"
        )
    if facts.get("dropped_replicates", 0.0):
        said.append(
            f"{facts['dropped_replicates']:.0f} bootstrap replicates collapsed and were dropped: intervals are too "
            "narrow; use the default prior or fewer components"
        )
    if facts.get("unfinished_replicates", 0.0):
        said.append(f"{facts['unfinished_replicates']:.0f} bootstrap replicates had not converged: raise max_iter")
    return said


def stuck_chains(log_posterior: Float[np.ndarray, "chain draw"]) -> list[int]:
    """Return the chains whose log posterior stays far below that of the best chain."""
    mean, sd = log_posterior.mean(axis=1), log_posterior.std(axis=1)
    best = int(mean.argmax())
    return [int(c) for c in np.flatnonzero(mean[best] - mean > STUCK_DEVIATIONS * sd[best])]


def complaints(found: Any, stuck: list[int], divergences: int, log_posterior: np.ndarray) -> list[str]:
    """Return a sentence for each thing that keeps the draws from being trusted, with what to do."""
    said = []
    if stuck:
        means = ", ".join(f"{m:.1f}" for m in log_posterior.mean(axis=1))
        said.append(
            f"chain(s) {stuck} are stuck in a minor mode (mean log posterior by chain: {means}): do not average "
            "over all chains; look at result.tree.optima, then refit with fewer components or a stronger prior"
        )
    found = found[found["r_hat"].notna()]
    if (found["r_hat"] > LARGEST_R_HAT).any():
        worst = found["r_hat"].idxmax()
        said.append(f"R-hat of {worst} is {found['r_hat'].max():.3f} (above {LARGEST_R_HAT}): raise draws and tune")
    if (found["ess_bulk"] < SMALLEST_ESS).any():
        worst = found["ess_bulk"].idxmin()
        said.append(f"effective draws of {worst} are {found['ess_bulk'].min():.0f} (below {SMALLEST_ESS}): raise draws")
    if divergences:
        said.append(f"{divergences} divergent transitions: raise target_accept, or use a less diffuse prior")
    return said
