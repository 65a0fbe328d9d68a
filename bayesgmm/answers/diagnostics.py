"""Diagnostics that labels cannot fool: quantities that no permutation of components changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayesgmm.data import Observations
from bayesgmm.errors import BayesGMMWarning, ConvergenceWarning, EmptyComponentWarning, LabelSwitchingWarning
from bayesgmm.expectation.pass_over_rows import log_densities, responsibilities
from bayesgmm.model.parameters import CovarianceType, MixtureParameters

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: What a posterior has to reach before its numbers are used (Vehtari et al. 2021, doi:10.1214/20-BA1221).
LARGEST_R_HAT, SMALLEST_ESS = 1.01, 400
#: Shares of draws above which empty components, unclear labels and labels that switch are spoken of.
MOST_EMPTY, MOST_AMBIGUOUS, MOST_SWITCHING = 0.05, 0.05, 0.05
#: A draw's labels are unclear when exchanging two of them loses less than this share of what the optimum would lose.
CLEAR_MARGIN = 0.1
#: Above this, smoothed importance weights are no longer reliable (Vehtari et al. 2024, arXiv:1507.02646).
LARGEST_K_HAT = 0.7
#: A chain whose mean log posterior is so many standard deviations below the best one's is stuck.
STUCK_DEVIATIONS = 3.0
#: Rows at which densities and co-memberships are followed.
ANCHORS = 4


def invariants(
    parameters: MixtureParameters, data: Observations, kind: CovarianceType
) -> dict[str, Float[np.ndarray, "chain draw"]]:
    """Return label-invariant functions of each draw, in the units of the data.

    The parameters are in the coordinates in which ``data`` is seen.
    """
    w, m, c = parameters.weights, parameters.means, parameters.covariances
    mean = np.einsum("...k,...kd->...d", w, m)
    second = np.einsum("...k,...kd->...d", w, m**2 + np.diagonal(c, axis1=-2, axis2=-1))
    log_det = np.sort(np.linalg.slogdet(c)[1], axis=-1) + 2 * np.log(data.unit).sum()
    found = {"sum_squared_weights": (w**2).sum(axis=-1), "largest_weight": w.max(axis=-1)}
    found |= {f"log_det_sorted[{j}]": log_det[..., j] for j in range(parameters.n_components)}
    for j, name in enumerate(data.features):
        found[f"mixture_mean[{name}]"] = mean[..., j] * data.unit[j] + data.origin[j]
        found[f"mixture_sd[{name}]"] = np.sqrt(second[..., j] - mean[..., j] ** 2) * data.unit[j]
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
        found[f"largest_membership[{data.index[at[0]]}]"] = r[..., 0].max(axis=-1)
        for a in range(len(at) - 1):
            name = f"together[{data.index[at[a]]}, {data.index[at[a + 1]]}]"
            found[name] = (r[..., a] * r[..., a + 1]).sum(axis=-1)
    return found


#: What stands before the brackets of a quantity's name, in words.
WORDS = {
    "together": "whether rows {} and {} belong together",
    "largest_membership": "how surely row {} belongs to its group",
    "log_density": "the density at row {}",
    "mixture_mean": "the mean of {} over all groups",
    "mixture_sd": "the standard deviation of {} over all groups",
    "log_det_sorted": "the volume of the group that is number {} by volume",
    "sum_squared_weights": "how even the sizes of the groups are",
    "largest_weight": "the share of the largest group",
    "occupied_components": "how many groups have rows",
    "log_posterior": "the log posterior",
    "log_likelihood": "the log-likelihood",
}


def in_words(name: str) -> str:
    """Return what a quantity of `invariants` is.

    Examples
    --------
    >>> in_words("together[56, 131]")
    'whether rows 56 and 131 belong together'
    """
    word, _, inside = name.removesuffix("]").partition("[")
    if word not in WORDS:
        return name
    if word == "log_det_sorted":
        return WORDS[word].format(int(inside) + 1)
    # Names of rows and columns may hold commas themselves: only two rows are split, at the first.
    return WORDS[word].format(*(inside.split(", ", 1) if word == "together" else [inside]))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a sampled fit says of itself beside its draws.

    Attributes
    ----------
    log_posterior : array (chain, draw)
        In nats.
    optima : list of int or None
        The optimum that each chain stays near, None for one that moves between them.
    divergences : int
        Number of divergent transitions.
    empty, ambiguous, switch_rate : float
        Share of draws with a component that has no row, whose labels are hardly clear, whose labels as sampled differ
        from those of the draw before.
    missing_information : float, optional
        How alike successive draws are, of a sampler that draws labels, where it was measured
        (`em.missing_information`).
    """

    log_posterior: Float[np.ndarray, "chain draw"]
    optima: list[int | None]
    divergences: int
    empty: float
    ambiguous: float
    switch_rate: float
    missing_information: float | None = None


def table(quantities: dict[str, Float[np.ndarray, "chain draw"]]) -> pd.DataFrame:
    """Return mean, sd, R-hat and effective sample sizes of each quantity, by ArviZ."""
    import arviz as az
    import pandas as pd

    rows = {}
    for name, values in quantities.items():
        row = {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
        # What never varies, such as the weight of a single component, has neither.
        if np.ptp(values) > 0:
            # Of chains that stand still, each elsewhere, it is infinite.
            with np.errstate(divide="ignore", invalid="ignore"):
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


def leave_one_out(
    log_likelihood: Float[np.ndarray, "chain draw n"], r_eff: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return log predictive density, Pareto's k-hat and effective parameters of each row left out, by ArviZ."""
    from arviz_stats.base.array import array_stats

    elpd, k_hat, p = array_stats.loo(log_likelihood, chain_axis=0, draw_axis=1, r_eff=r_eff)
    return elpd, k_hat, p


def elpd_data(index: np.ndarray, pointwise: tuple[np.ndarray, np.ndarray], **found: Any) -> Any:
    """Return ArviZ's record of a leave-one-out estimate, with what is known of each row where that is kept."""
    import xarray as xr
    from arviz_stats.utils import ELPDDataLOO

    coords = {"observation": index}
    each: list[Any] = [xr.DataArray(v, coords, ["observation"]) if len(index) else None for v in pointwise]
    return ELPDDataLOO(scale="log", elpd_i=each[0], pareto_k=each[1], **found)


def effective_share(posterior: xr.Dataset) -> float:
    """Return how many independent draws each draw is worth: the mean over all parameters, as ArviZ's ``loo`` has it."""
    import arviz as az

    if posterior.sizes["chain"] == 1:
        return 1.0
    found = az.ess(posterior, method="mean")
    share = np.concatenate([values.values.ravel() for values in found.values()])
    return float(share.mean()) / (posterior.sizes["chain"] * posterior.sizes["draw"])


def doubts(facts: Mapping[str, float]) -> list[BayesGMMWarning]:
    """Return a warning for each fact that keeps a point, an approximation about it or draws from being trusted."""
    said = []
    if "rise_to_come" in facts:
        said.append(
            f"EM stopped after max_iter={facts['max_iter']:.0f} iterations with the log posterior still rising (about "
            f"{facts['rise_to_come']:.2g} nats to come); raise max_iter, or ask for fewer components if they overlap"
        )
    if "draws_asked" in facts:
        said.append(
            f"sampling was interrupted after {facts['draws_made']:,.0f} of {facts['draws_asked']:,.0f} draws: this "
            "is a partial result"
        )
    if facts.get("k_hat", 0.0) > LARGEST_K_HAT:
        said.append(
            f"Pareto's k-hat is {facts['k_hat']:.2f} (above {LARGEST_K_HAT}): the Laplace approximation is too far "
            "from the posterior to be reweighted; use engine='nuts' or 'gibbs'"
        )
    if facts.get("dropped_replicates", 0.0):
        said.append(
            f"{facts['dropped_replicates']:.0f} bootstrap replicates collapsed and were dropped: intervals are too "
            "narrow; use the default prior or fewer components"
        )
    if facts.get("unfinished_replicates", 0.0):
        said.append(f"{facts['unfinished_replicates']:.0f} bootstrap replicates had not converged: raise max_iter")
    return [ConvergenceWarning(sentence) for sentence in said]


def stuck_chains(log_posterior: Float[np.ndarray, "chain draw"]) -> list[int]:
    """Return the chains whose log posterior stays far below that of the best chain."""
    mean, sd = log_posterior.mean(axis=1), log_posterior.std(axis=1)
    best = int(mean.argmax())
    return [int(c) for c in np.flatnonzero(mean[best] - mean > STUCK_DEVIATIONS * sd[best])]


def complaints(found: pd.DataFrame, run: Run) -> list[BayesGMMWarning]:
    """Return a warning for each thing that keeps the draws from being trusted, with what to do.

    ``found`` is a `table` of label-invariant quantities.
    """
    said: list[BayesGMMWarning] = []
    stuck = stuck_chains(run.log_posterior)
    if stuck:
        means = ", ".join(f"{m:.1f}" for m in run.log_posterior.mean(axis=1))
        said.append(
            ConvergenceWarning(
                f"chain(s) {stuck} are stuck in a minor mode (mean log posterior by chain: {means}; nearest optimum "
                f"by chain: {run.optima}): do not average over all chains; look at result.modes(), then refit with "
                "fewer components or a stronger prior"
            )
        )
    elif len(set(run.optima) - {None}) > 1:
        said.append(
            ConvergenceWarning(
                f"chains stay near different optima (nearest optimum by chain: {run.optima}), so their shares of the "
                "draws say nothing about their probability: look at result.modes(), then raise draws or chains"
            )
        )
    r_hat, ess = found["r_hat"].dropna(), found["ess_bulk"].dropna()
    if (r_hat > LARGEST_R_HAT).to_numpy().any():
        worst, value = r_hat.idxmax(), r_hat.max()
        said.append(
            ConvergenceWarning(
                f"R-hat of {in_words(str(worst))} is {value:.3f} (above {LARGEST_R_HAT}), so that chains do not agree "
                "on it: raise draws and tune"
            )
        )
    if (ess < SMALLEST_ESS).to_numpy().any():
        worst, value = ess.idxmin(), ess.min()
        said.append(
            ConvergenceWarning(
                f"effective draws of {in_words(str(worst))} are {value:.0f} (below {SMALLEST_ESS}): raise draws"
            )
        )
    if run.divergences:
        said.append(
            ConvergenceWarning(
                f"{run.divergences} divergent transitions: raise target_accept, or use a less diffuse prior"
            )
        )
    return said + _doubts_of_sweeps(run, ess) + _doubts_of_rows(run) + label_doubts(run.ambiguous, run.switch_rate)


def _doubts_of_sweeps(run: Run, ess: Any) -> list[BayesGMMWarning]:
    """Return a warning where labels hide so much that sweeps hardly move, and the draws show it."""
    hidden, draws = run.missing_information, run.log_posterior.size
    if hidden is None or draws < SMALLEST_ESS or not (ess < SMALLEST_ESS).to_numpy().any():
        return []
    independent = (1 - hidden) / (1 + hidden)
    if draws * independent >= SMALLEST_ESS:
        return []
    return [
        ConvergenceWarning(
            f"the groups overlap so much that labels hide {100 * hidden:.3g} % of the information "
            f"(EM's rate of convergence): at best one draw in {1 / max(independent, 1e-9):,.0f} of Gibbs is worth an "
            "independent one; use engine='nuts'"
        )
    ]


def _doubts_of_rows(run: Run) -> list[BayesGMMWarning]:
    """Return a warning where components are empty in too many draws."""
    if run.empty <= MOST_EMPTY:
        return []
    return [
        EmptyComponentWarning(
            f"some component has no row in {run.empty:.0%} of draws: its parameters there are the prior's; fewer "
            "components may do"
        )
    ]


def label_doubts(ambiguous: float, switch_rate: float) -> list[BayesGMMWarning]:
    """Return a warning where components cannot be told apart, or labels switched, in too many draws (see `Run`)."""
    said: list[BayesGMMWarning] = []
    if ambiguous > MOST_AMBIGUOUS:
        said.append(
            LabelSwitchingWarning(
                f"in {ambiguous:.0%} of draws components can hardly be told apart: tables by component blur "
                "them, though densities and co-clustering hold; try fewer components"
            )
        )
    if switch_rate > MOST_SWITCHING:
        said.append(
            LabelSwitchingWarning(
                f"component labels switched in {switch_rate:.0%} of draws: memberships are averaged after "
                "relabelling, but groups may not be distinct; try fewer components"
            )
        )
    return said
