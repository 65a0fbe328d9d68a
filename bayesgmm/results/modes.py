"""The mode atlas: the optima that EM found, what they weigh, and which chains stay near them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.answers.relabelling import visited
from bayesgmm.answers.tables import named_values
from bayesgmm.errors import BayesGMMWarning, ConvergenceWarning
from bayesgmm.posterior.chain_starts import Starts
from bayesgmm.results.tree import by_draws, dataset, observations_of, parameters_of, prior_of, reached

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: A chain stays near an optimum if at least this share of those draws is nearest to it.
STAYING = 0.9
#: A share of the draws that differs from Laplace's mass by more than this is spoken of.
DISAGREEMENT = 0.25
#: Optima so many nats below the best, and no more, are its rivals.
RIVAL = 3.0
#: Of so many starts or more it is said if no more than this share of them, or one, led to the best optimum: of sound
#: groups more than half do.
MANY_STARTS, FEW = 5, 0.2


def atlas(tree: xr.DataTree, is_flat: bool) -> pd.DataFrame:
    """Return one row an optimum: see `MixtureResult.modes`."""
    import pandas as pd

    optima, parameters = dataset(tree, "optima"), parameters_of(dataset(tree, "optima"))
    value, share, found = optima["log_posterior"].values, optima["basin_share"].values, reached(optima)
    mass, same_mode = np.full(len(value), np.nan), np.arange(len(value))
    if not is_flat:
        at = np.flatnonzero(found)
        mass[at], first = _modes(tree, at)
        same_mode[at] = at[first]
    columns: dict[str, Any] = {
        "log_posterior": value,
        "below_best": value[0] - value,
        "found_by": np.where(by_draws(optima), "draws", np.where(share > 0, "starts", "moves")),
        "basin_share": share,
        "spurious": optima["spurious"].values.astype(bool),
        "converged": found,
        "mass": mass,
    }
    if tree.attrs["kind"] == "posterior":
        columns |= _visits(_nearest(tree), mass, same_mode)
    values = named_values(parameters.reshaped((1, -1)), observations_of(tree).features)
    columns |= {name: v[0] for name, v in values.items() if name.startswith(("weight", "mean"))}
    return pd.DataFrame(columns).rename_axis("optimum")


def chain_optima(tree: xr.DataTree) -> list[int | None]:
    """Return the optimum near which each chain stays, None for one that moves between optima."""
    return _staying(_nearest(tree))


def _staying(nearest: Int[np.ndarray, "chain draw"]) -> list[int | None]:
    shares = [np.bincount(chain) / len(chain) for chain in nearest]
    return [int(share.argmax()) if share.max() >= STAYING else None for share in shares]


def _visits(
    nearest: Int[np.ndarray, "chain draw"], mass: Float[np.ndarray, " optimum"], same_mode: Int[np.ndarray, " optimum"]
) -> dict[str, list[Any]]:
    """Return the share of draws nearest to each optimum, who stays there, and where Laplace says otherwise."""
    draws, of_mode = (
        np.array([(each == at).mean() for at in range(len(mass))]) for each in (nearest, same_mode[nearest])
    )
    chains = _staying(nearest)
    return {
        "draws": draws.tolist(),
        "chains": [", ".join(str(c) for c, stays in enumerate(chains) if stays == at) for at in range(len(mass))],
        "note": [_note(*pair) for pair in zip(of_mode, mass, strict=True)],
    }


def _note(draws: float, mass: float) -> str:
    """Return a sentence where the mass by Laplace's approximation is not the share of the draws."""
    if not abs(draws - mass) > DISAGREEMENT:
        return ""
    return (
        f"{draws:.0%} of the draws are here, for {mass:.0%} of the mass by Laplace's approximation, which is rough "
        "where a component is small: believe the draws, if R-hat is good"
    )


def _nearest(tree: xr.DataTree) -> Int[np.ndarray, "chain draw"]:
    """Return the optimum nearest to evenly spaced draws of each chain."""
    data = observations_of(tree)
    draws, optima = (
        parameters_of(dataset(tree, group)).moved(data.origin, data.unit) for group in ("posterior", "optima")
    )
    found = np.flatnonzero(reached(dataset(tree, "optima")))
    found = found if len(found) else np.zeros(1, int)
    return found[visited(draws, optima[found], data, prior_of(tree).covariance_type)]


def _modes(
    tree: xr.DataTree, which: Int[np.ndarray, " some"]
) -> tuple[Float[np.ndarray, " some"], Int[np.ndarray, " some"]]:
    """Return the mass of the mode to which each of some optima leads, counted once, and the first that leads there."""
    masses, first, data = np.full(len(which), np.nan), np.arange(len(which)), observations_of(tree)
    if not len(which):
        return masses, first
    at = data.origin, data.unit
    optima = parameters_of(dataset(tree, "optima"))[which].moved(*at)
    starts = Starts.at(optima, data.counted(), prior_of(tree).in_units(*at))
    for optimum, mode in enumerate(starts.of_optimum):
        first[optimum] = starts.of_optimum.index(mode)
        masses[optimum] = starts.mass[mode] if first[optimum] == optimum else 0.0
    return masses, first


def doubts_of_search(tree: xr.DataTree, is_flat: bool) -> list[BayesGMMWarning]:
    """Return a warning where a point is not clearly the best one, or was hardly found."""
    said = [*_rivals(tree, is_flat), *_seldom_found(tree)]
    return [ConvergenceWarning(sentence) for sentence in said]


def _rivals(tree: xr.DataTree, is_flat: bool) -> Iterator[str]:
    """Say which optima are nearly as high as the point, and what they weigh."""
    optima = dataset(tree, "optima")
    below = optima["log_posterior"].values[0] - optima["log_posterior"].values
    sound = reached(optima) & ~optima["spurious"].values.astype(bool) & (below <= RIVAL)
    rivals, masses = np.flatnonzero(sound[1:]) + 1, np.empty(0)
    if tree.attrs["kind"] == "Laplace approximation" or not sound[0] or not len(rivals):
        return
    if not is_flat:
        masses = _modes(tree, np.append(0, rivals))[0][1:]
        # What leads to a mode that was counted is no other one.
        rivals, masses = rivals[masses != 0], masses[masses > 0]
        if not len(rivals):
            return
    how_far = _listed([f"{nats:.2g}" for nats in below[rivals]])
    others = "another optimum is" if len(rivals) == 1 else f"{len(rivals)} other optima are"
    shares = _listed([f"{mass:.2g}" for mass in masses])
    weigh = f"; shares of the posterior by Laplace's approximation: {shares}" if shares else ""
    yield (
        f"{others} nearly as high as this one ({how_far} nats below{weigh}), and a point estimate leaves out "
        "all but one: look at result.modes(), "
        + ("or use the default prior" if is_flat else "or use engine='nuts' or 'gibbs'")
    )


def _seldom_found(tree: xr.DataTree) -> Iterator[str]:
    """Say how often the best optimum was found, if seldom."""
    optima, starts = dataset(tree, "optima"), json.loads(tree.attrs["engine"]).get("n_init", 1)
    found = round(float(optima["basin_share"][0]) * starts)
    if starts < MANY_STARTS or found > max(1, FEW * starts) or not reached(optima)[0]:
        return
    how = f"by {found} of {starts} starts of EM" if found else f"by none of {starts} starts, but by moves from there"
    yield (
        f"the best optimum was found {how}: a better one may have been missed; raise n_init, "
        "or ask for fewer components"
    )


def _listed(words: list[str]) -> str:
    return " and ".join(", ".join(part) for part in (words[:-1], words[-1:]) if part)
