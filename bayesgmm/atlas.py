"""The mode atlas: the optima that EM found, what they weigh, and which chains stay near them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.relabel import visited
from bayesgmm.schema import dataset, observations_of, parameters_of, prior_of
from bayesgmm.starts import Starts
from bayesgmm.tables import named_values

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: A chain stays near an optimum if at least this share of those draws is nearest to it.
STAYING = 0.9
#: A share of the draws that differs from Laplace's mass by more than this is spoken of.
DISAGREEMENT = 0.25


def atlas(tree: xr.DataTree, is_flat: bool) -> pd.DataFrame:
    """Return one row an optimum: see `MixtureResult.modes`."""
    import pandas as pd

    optima, parameters = dataset(tree, "optima"), parameters_of(dataset(tree, "optima"))
    value = optima["log_posterior"].values
    share = optima["basin_share"].values
    mass, same_mode = (np.full(len(value), np.nan), np.arange(len(value))) if is_flat else _modes(tree, len(value))
    columns: dict[str, Any] = {
        "log_posterior": value,
        "below_best": value[0] - value,
        "found_by": np.where(share > 0, "starts", "draws"),
        "basin_share": share,
        "spurious": optima["spurious"].values.astype(bool),
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
    return visited(draws, optima, data, prior_of(tree).covariance_type)


def _modes(tree: xr.DataTree, number: int) -> tuple[Float[np.ndarray, " optimum"], Int[np.ndarray, " optimum"]]:
    """Return the mass of the mode to which each optimum leads, counted once, and the first optimum that leads there."""
    masses, first, data = np.full(number, np.nan), np.arange(number), observations_of(tree)
    at = data.origin, data.unit
    optima = parameters_of(dataset(tree, "optima")).moved(*at)
    starts = Starts.at(optima, data.counted(), prior_of(tree).in_units(*at))
    for optimum, mode in enumerate(starts.of_optimum):
        first[optimum] = starts.of_optimum.index(mode)
        masses[optimum] = starts.mass[mode] if first[optimum] == optimum else 0.0
    return masses, first
