"""The common shape of all results: draws and data as one xarray.DataTree in ArviZ's schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from bayesgmm.answers.relabelling import aligned, visited
from bayesgmm.data import Observations, Rows, StoredObservations
from bayesgmm.data.weights import collected
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import PARAMETER_DIMS, Draws, MixtureParameters, Optima
from bayesgmm.model.priors import (
    ConjugatePrior,
    HierarchicalPrior,
    Prior,
    SemiConjugatePrior,
    SeparationPrior,
    is_exchangeable,
)

if TYPE_CHECKING:
    import xarray as xr

#: Raised when a file of an older version can no longer be read as it is.
SCHEMA_VERSION = 1
HYPERPARAMETER_DIMS = {
    "concentration": ("component",),
    "loc": ("component", "feature"),
    "loc_covariance": ("component", "feature", "feature_bis"),
    "shrinkage": ("component",),
    "dof": ("component",),
    "scale": ("component", "feature", "feature_bis"),
    "deviation": ("component", "feature"),
    "lkj": (),
    "scale_dof": (),
    "scale_rate": ("feature", "feature_bis"),
    "floor": ("feature",),
}
PRIORS = {prior.__name__: prior for prior in (HierarchicalPrior, ConjugatePrior, SemiConjugatePrior, SeparationPrior)}
#: The prior of models that name none; older files name another.
DEFAULT_PRIOR = HierarchicalPrior.__name__
#: Rows of a source that a result keeps, to relabel and diagnose by.
ROWS_KEPT = 10_000
#: Packages whose versions a result carries.
PACKAGES = ("bayesgmm", "numpy", "numba", "nutpie", "pymc", "arviz")


def settled(draws: Draws, data: Rows, model: MixtureModel, prior: Prior) -> Draws:
    """Return draws in data units, as is ``prior``, carrying the labels of the optimum that most are nearest to.

    How each was permuted is kept in ``sample_stats["label_order"]``. Where the prior tells components
    apart, labels mean what it says and stay as they were sampled.
    """
    seen = data.origin, data.unit
    best, pivot = draws.optima.parameters[0], 0
    order = np.broadcast_to(np.arange(best.n_components), draws.parameters.weights.shape)
    stats = dict(draws.sample_stats)
    if is_exchangeable(prior):
        if draws.kind == "posterior" and len(draws.optima.log_posterior) > 1:
            nearest = visited(draws.parameters, draws.optima.reached, data, model.covariance_type)
            pivot = int(draws.optima.where_reached[np.bincount(nearest.ravel()).argmax()])
        found = aligned(draws.parameters, draws.optima.parameters[pivot], data, model.covariance_type)
        order = found.order
        if best.n_components > 1 and draws.kind != "point estimate":
            stats["label_margin"] = found.margin
    if draws.kind != "point estimate":
        stats["label_order"] = order
    in_units = prior.log_density(best.moved_back(*seen)) - prior.in_units(*seen).log_density(best)
    likelihood = data.total_weight * np.log(data.unit).sum()
    shift = float(in_units - likelihood)
    labels = None if draws.labels is None else relabelled_rows(draws.labels, order)
    optima = replace(
        draws.optima,
        parameters=draws.optima.parameters.moved_back(*seen),
        log_posterior=draws.optima.log_posterior + shift,
        pivot=pivot,
    )
    return Draws(
        draws.parameters.permuted(order).moved_back(*seen),
        draws.log_posterior + shift,
        draws.log_likelihood - likelihood,
        optima,
        stats,
        _trace_in_units(draws.trace, data, shift),
        draws.converged,
        labels,
        draws.kind,
        draws.facts,
    )


def relabelled_rows(labels: Int[np.ndarray, "chain kept n"], order: Int[np.ndarray, "chain draw k"]) -> np.ndarray:
    """Return labels of rows after components were reordered: new component j is old component ``order[j]``."""
    every = order.shape[1] // labels.shape[1]
    place = np.argsort(order, axis=-1)[:, every - 1 :: every][:, : labels.shape[1]]
    return np.take_along_axis(place, labels.astype(np.intp), axis=-1).astype(labels.dtype)


def _trace_in_units(trace: Mapping[str, np.ndarray], data: Rows, shift: float) -> dict[str, np.ndarray]:
    if not trace:
        return {}
    found = {"log_posterior": trace["log_posterior"] + shift}
    if "weights" in trace:
        steps = MixtureParameters(*(trace[name] for name in PARAMETER_DIMS)).moved_back(data.origin, data.unit)
        found |= dict(zip(PARAMETER_DIMS, steps.arrays, strict=True))
    return found


def tree_of(
    draws: Draws, data: Rows, model: MixtureModel, prior: Prior, engine: Any, *, seed: int | None, seconds: float
) -> xr.DataTree:
    """Return the tree of a fit.

    Parameters
    ----------
    draws : Draws
        As by `settled`.
    data : Rows
        As seen by the fit; of a source a sample is kept.
    model : MixtureModel
        What was asked for.
    prior : Prior
        That of the fit, in data units.
    engine : object
        Settings, a dataclass.
    seed : int or None
        As given.
    seconds : float
        Wall time.
    """
    import xarray as xr

    from bayesgmm.results.carried import carried

    rows_of_fit, data = data, data if isinstance(data, Observations) else kept_rows(data)
    chain, draw = draws.log_posterior.shape
    features = list(data.features)
    components = {"component": np.arange(draws.parameters.n_components), "feature": features, "feature_bis": features}
    sampled = {"chain": np.arange(chain), "draw": np.arange(draw), "observation": _written_out(data.index)}
    coords = xr.Coordinates(sampled | components)
    rows = picked(coords, "observation", "feature")
    seen = {"origin": ("feature", data.origin), "unit": ("feature", data.unit)}
    variables = _parameters(draws.parameters, ("chain", "draw")) | carried(prior, draws.parameters, features)
    groups = {
        "posterior": xr.Dataset(variables, picked(coords, "chain", "draw", *components)),
        "sample_stats": xr.Dataset(_sample_stats(draws), picked(coords, "chain", "draw", "component")),
        "observed_data": xr.Dataset({"observations": (("observation", "feature"), data.values)}, rows),
        "constant_data": xr.Dataset({"sample_weight": ("observation", data.sample_weight), **seen}, rows),
        "optima": _optima(draws.optima, picked(coords, *components)),
        "prior_hyperparameters": _hyperparameters(prior, picked(coords, *components)),
    }
    if draws.trace:
        groups["trace"] = _trace(draws.trace, picked(coords, *components))
    if draws.labels is not None:
        groups["allocation"] = _allocation(draws.labels, draw, data)
    tree = xr.DataTree()
    tree.children = {name: xr.DataTree(group) for name, group in groups.items()}
    tree.attrs = (
        identity(data, model)
        | _named_source(rows_of_fit)
        | {
            "engine": json.dumps({"name": type(engine).__name__} | asdict(engine) | _unset(engine)),
            "seed": str(seed),
            "seconds": seconds,
            "converged": int(draws.converged),
            "kind": draws.kind,
            "relabelling": "em" if "label_margin" in draws.sample_stats else "none",
            "facts": json.dumps(dict(draws.facts)),
            "inference_library": "bayesgmm",
        }
    )
    return tree


def _written_out(index: Any) -> Any:
    """Return names of rows as an index has them: numbers in order take no room there."""
    import pandas as pd

    return pd.RangeIndex(index) if isinstance(index, range) else index


def picked(coords: xr.Coordinates, *names: str) -> xr.Coordinates:
    """Return some of the coordinates; their indexes, which take long to make, are those of the others."""
    import xarray as xr

    variables, indexes = coords.variables, coords.xindexes
    return xr.Coordinates({name: variables[name] for name in names}, {name: indexes[name] for name in names})


def kept_rows(data: Rows) -> Observations:
    """Return the rows that a result keeps of a source: a sample that stands for all of them, by its weights."""
    return data.standing_for_all(ROWS_KEPT, np.random.default_rng(0))


def _named_source(data: Rows) -> dict[str, Any]:
    """Return the attribute that says where rows are that a result does not keep, if there are any."""
    if not isinstance(data, StoredObservations):
        return {}
    return {"source": json.dumps(data.source.describe() | {"rows": len(data)})}


def identity(data: Observations, model: MixtureModel) -> dict[str, Any]:
    """Return the attributes that say what was fitted, with what."""
    word = "flat" if model.is_flat else DEFAULT_PRIOR if model.prior is None else type(model.prior).__name__
    named = {"n_components": model.n_components, "covariance_type": model.covariance_type, "prior": word}
    return {
        "schema": "bayesgmm",
        "schema_version": SCHEMA_VERSION,
        "model": json.dumps(named | {"default_prior": model.prior is None}),
        "named": int(data.named),
        "data_sha256": digest_of(data),
        "versions": _versions(),
    }


def digest_of(data: Observations) -> str:
    """Return what tells the values of rows from others."""
    return hashlib.sha256(np.ascontiguousarray(data.values).data).hexdigest()


@cache
def _versions() -> str:
    """Return the versions of the packages at work, as JSON."""
    return json.dumps({name: version(name) for name in PACKAGES})


def _unset(engine: Any) -> dict[str, None]:
    """Return the settings that mean nothing on another machine."""
    return {"checkpoint": None} if hasattr(engine, "checkpoint") else {}


def _parameters(parameters: MixtureParameters, grid: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: ((*grid, *dims), array)
        for (name, dims), array in zip(PARAMETER_DIMS.items(), parameters.arrays, strict=True)
    }


def _sample_stats(draws: Draws) -> dict[str, Any]:
    stats = {"lp": draws.log_posterior, "log_likelihood_total": draws.log_likelihood, **draws.sample_stats}
    pair = ("chain", "draw")
    return {name: (pair if values.ndim == 2 else (*pair, "component"), values) for name, values in stats.items()}


def _optima(optima: Optima, names: xr.Coordinates) -> xr.Dataset:
    import xarray as xr

    values = {
        "log_posterior": ("optimum", optima.log_posterior),
        "basin_share": ("optimum", optima.basin_share),
        "spurious": ("optimum", optima.spurious),
        "converged": ("optimum", optima.is_reached),
        "by_draws": ("optimum", optima.is_by_draws),
    }
    coords = names | xr.Coordinates({"optimum": np.arange(len(optima.log_posterior))})
    attrs = {"dropped_starts": optima.dropped, "pivot": optima.pivot}
    return xr.Dataset(values | _parameters(optima.parameters, ("optimum",)), coords, attrs)


def _hyperparameters(prior: Prior, names: xr.Coordinates) -> xr.Dataset:
    import xarray as xr

    given = {name: value for name, value in asdict(prior).items() if name in HYPERPARAMETER_DIMS}
    return xr.Dataset({name: (HYPERPARAMETER_DIMS[name], np.asarray(value)) for name, value in given.items()}, names)


def _allocation(labels: np.ndarray, draws: int, data: Observations) -> xr.Dataset:
    """Return the labels that were kept: of every so-manieth draw, for the rows that count."""
    import xarray as xr

    every, index = draws // labels.shape[1], data.counted().index
    coords = {
        "chain": np.arange(len(labels)),
        "kept_draw": np.arange(every - 1, draws, every)[: labels.shape[1]],
        "counted": index,
    }
    return xr.Dataset({"labels": (tuple(coords), labels)}, coords)


def _trace(trace: Mapping[str, np.ndarray], names: xr.Coordinates) -> xr.Dataset:
    import xarray as xr

    values = {name: (("iteration", *PARAMETER_DIMS.get(name, ())), array) for name, array in trace.items()}
    return xr.Dataset(values, names | xr.Coordinates({"iteration": np.arange(len(trace["log_posterior"]))}))


def dataset(tree: xr.DataTree, group: str) -> xr.Dataset:
    """Return one group of a tree."""
    return tree.children[group].dataset


def parameters_of(group: xr.Dataset) -> MixtureParameters:
    """Return the parameters of a group: posterior, optima or trace."""
    return MixtureParameters(*(group[name].values for name in PARAMETER_DIMS))


def reached(optima: xr.Dataset) -> np.ndarray:
    """Return which optima are ones, and no starts that were cut short; files of old versions do not say."""
    return np.asarray(optima.get("converged", optima["spurious"] | True).values, dtype=bool)


def by_draws(optima: xr.Dataset) -> np.ndarray:
    """Return which optima only draws led to; files of old versions have none."""
    return np.asarray(optima.get("by_draws", optima["spurious"] & False).values, dtype=bool)


def observations_of(tree: xr.DataTree) -> Observations:
    """Return the rows of the fit, as the fit saw them."""
    table, constant = dataset(tree, "observed_data")["observations"], dataset(tree, "constant_data")
    return Observations(
        np.ascontiguousarray(table.values),
        collected(constant["sample_weight"].values),
        tuple(str(name) for name in table["feature"].values),
        table["observation"].values,
        constant["origin"].values,
        constant["unit"].values,
        bool(tree.attrs.get("named", _are_named(table["feature"].values))),
    )


def _are_named(features: np.ndarray) -> bool:
    """Return whether columns had names, by these: files of old versions do not say."""
    return [str(name) for name in features] != [f"x{j}" for j in range(len(features))]


def prior_of(tree: xr.DataTree) -> Prior:
    """Return the prior of the fit, in data units."""
    named = json.loads(tree.attrs["model"])
    values: dict[str, Any] = {
        str(name): array.values for name, array in dataset(tree, "prior_hyperparameters").data_vars.items()
    }
    for name in {"lkj", "scale_dof"} & set(values):
        values[name] = float(values[name])
    kind = PRIORS["ConjugatePrior" if named["prior"] == "flat" else named["prior"]]
    return kind(**values, covariance_type=named["covariance_type"])


def model_of(tree: xr.DataTree) -> MixtureModel:
    """Return the model of the fit, its prior written out unless it is the default or flat."""
    named = json.loads(tree.attrs["model"])
    is_default = named["default_prior"] and named["prior"] == DEFAULT_PRIOR
    prior = "flat" if named["prior"] == "flat" else None if is_default else prior_of(tree)
    return MixtureModel(named["n_components"], named["covariance_type"], prior)


def with_parameters(
    tree: xr.DataTree, parameters: MixtureParameters, order: np.ndarray, method: str = "em"
) -> xr.DataTree:
    """Return a copy of a tree with draws that a method permuted by ``order``, which is composed with the record."""
    import xarray as xr

    from bayesgmm.results.carried import carrying

    changed = tree.copy()
    changed.attrs = tree.attrs | {"relabelling": method}
    posterior = changed["posterior"].to_dataset()
    for name, array in zip(PARAMETER_DIMS, parameters.arrays, strict=True):
        posterior[name] = posterior[name].copy(data=array)
    changed["posterior"] = xr.DataTree(carrying(posterior, prior_of(tree)))
    before = dataset(tree, "sample_stats").get("label_order")
    if before is not None:
        changed["sample_stats"]["label_order"] = before.copy(data=np.take_along_axis(before.values, order, axis=-1))
    if "allocation" in tree.children:
        labels = dataset(tree, "allocation")["labels"]
        changed["allocation"]["labels"] = labels.copy(data=relabelled_rows(labels.values, order))
    return changed
