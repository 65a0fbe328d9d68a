"""Tables of parameters: one row a number, under a name that says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from bayesgmm.answers.diagnostics import table
from bayesgmm.model.parameters import MixtureParameters

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def named_values(parameters: MixtureParameters, features: tuple[str, ...]) -> dict[str, Float[np.ndarray, "*grid"]]:
    """Return every weight, mean, standard deviation and correlation by component and feature name."""
    k, d = parameters.n_components, parameters.n_features
    deviation = np.sqrt(np.diagonal(parameters.covariances, axis1=-2, axis2=-1))
    found = {f"weight[{c}]": parameters.weights[..., c] for c in range(k)}
    found |= {f"mean[{c}, {features[j]}]": parameters.means[..., c, j] for c in range(k) for j in range(d)}
    found |= {f"sd[{c}, {features[j]}]": deviation[..., c, j] for c in range(k) for j in range(d)}
    for c in range(k):
        for i in range(d):
            for j in range(i):
                product = deviation[..., c, i] * deviation[..., c, j]
                found[f"corr[{c}, {features[j]}, {features[i]}]"] = parameters.covariances[..., c, i, j] / product
    return found


def summarised(values: dict[str, Float[np.ndarray, "chain draw"]], ci_prob: float, is_point: bool) -> pd.DataFrame:
    """Return mean, sd, equal-tailed interval, R-hat and effective draws; of one draw only its value."""
    import pandas as pd

    if is_point:
        found = pd.DataFrame({"mean": {name: float(v[0, 0]) for name, v in values.items()}})
        found = found.reindex(columns=["mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail"])
        return found.rename_axis("parameter")
    found = table(values).rename_axis("parameter")
    tail = (1 - ci_prob) / 2
    bounds = np.array([np.quantile(v, [tail, 1 - tail]) for v in values.values()])
    found.insert(2, "lower", bounds[:, 0])
    found.insert(3, "upper", bounds[:, 1])
    return found


def memberships_frame(memberships: xr.Dataset) -> pd.DataFrame:
    """Return memberships as one row per observation: label, then probability and interval by component."""
    import pandas as pd

    columns = {"label": memberships["label"].values}
    for c in memberships["component"].values:
        for name, word in (("probability", "membership"), ("lower", "lower"), ("upper", "upper")):
            columns[f"{word}[{c}]"] = memberships[name].sel(component=c).values
    for name in ("entropy", "entropy_overlap", "entropy_parameter"):
        columns[name] = memberships[name].values
    return pd.DataFrame(columns, index=pd.Index(memberships["observation"].values, name="observation"))
