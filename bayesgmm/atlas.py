"""The mode atlas: the optima that EM found, what they weigh, and which chains stay near them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.relabel import nearest_optimum
from bayesgmm.schema import dataset, observations_of, parameters_of, prior_of
from bayesgmm.starts import MOST_MODES, Starts
from bayesgmm.tables import named_values

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: Draws of each chain that are compared with the optima to say where it stays.
DRAWS_OF_CHAIN = 50
#: A chain stays near an optimum if at least this share of those draws is nearest to it.
STAYING = 0.9


def atlas(tree: xr.DataTree, is_flat: bool) -> pd.DataFrame:
    """Return one row an optimum: see `MixtureResult.modes`."""
    import pandas as pd

    optima, parameters = dataset(tree, "optima"), parameters_of(dataset(tree, "optima"))
    value = optima["log_posterior"].values
    columns: dict[str, Any] = {
        "log_posterior": value,
        "below_best": value[0] - value,
        "basin_share": optima["basin_share"].values,
        "spurious": optima["spurious"].values.astype(bool),
        "mass": np.full(len(value), np.nan) if is_flat else _masses(tree, len(value)),
    }
    if tree.attrs["kind"] == "posterior":
        nearest, chains = _nearest(tree), chain_optima(tree)
        columns["draws"] = [float((nearest == at).mean()) for at in range(len(value))]
        columns["chains"] = [
            ", ".join(str(c) for c, stays in enumerate(chains) if stays == at) for at in range(len(value))
        ]
    values = named_values(parameters.reshaped((1, -1)), observations_of(tree).features)
    columns |= {name: v[0] for name, v in values.items() if name.startswith(("weight", "mean"))}
    return pd.DataFrame(columns).rename_axis("optimum")


def chain_optima(tree: xr.DataTree) -> list[int | None]:
    """Return the optimum near which each chain stays, None for one that moves between optima."""
    shares = [np.bincount(chain) / len(chain) for chain in _nearest(tree)]
    return [int(share.argmax()) if share.max() >= STAYING else None for share in shares]


def _nearest(tree: xr.DataTree) -> Int[np.ndarray, "chain draw"]:
    """Return the optimum nearest to evenly spaced draws of each chain."""
    data = observations_of(tree)
    draws, optima = (
        parameters_of(dataset(tree, group)).moved(data.origin, data.unit) for group in ("posterior", "optima")
    )
    number = draws.grid[1]
    spaced = np.unique(np.linspace(0, number - 1, min(number, DRAWS_OF_CHAIN)).astype(int))
    return nearest_optimum(draws[:, spaced], optima[:MOST_MODES], data, prior_of(tree).covariance_type)


def _masses(tree: xr.DataTree, number: int) -> Float[np.ndarray, " optimum"]:
    """Return the mass of the mode to which each optimum leads, counted once."""
    masses, data = np.full(number, np.nan), observations_of(tree)
    at = data.origin, data.unit
    optima = parameters_of(dataset(tree, "optima")).moved(*at)
    starts = Starts.at(optima, data.counted(), prior_of(tree).in_units(*at))
    seen: set[int] = set()
    for optimum, mode in enumerate(starts.of_optimum):
        masses[optimum] = 0.0 if mode in seen else starts.mass[mode]
        seen.add(mode)
    return masses
