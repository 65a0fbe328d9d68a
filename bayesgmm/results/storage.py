"""Results on disk: NetCDF files, written whole or not at all, and read without trust."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.answers.relabelling import METHODS
from bayesgmm.data.writing import CHECKSUM, check_bytes, digest, write_whole
from bayesgmm.errors import WARNINGS, DataError, LoadError
from bayesgmm.model.given import FARTHEST, are_mixtures
from bayesgmm.model.parameters import DRAW_KINDS, PARAMETER_DIMS
from bayesgmm.results.inspection import check_plain
from bayesgmm.results.tree import SCHEMA_VERSION, dataset, parameters_of, prior_of

if TYPE_CHECKING:
    import xarray as xr

#: Groups without which a file is no result.
GROUPS = ("posterior", "sample_stats", "observed_data", "constant_data", "optima", "prior_hyperparameters")
#: Those that some results have.
PERHAPS = ("trace", "allocation")
#: Units smaller than this, or larger than its inverse, leave no room for their squares in double precision.
SMALLEST_UNIT = 1e-156
#: Sizes of log densities and what else is told of draws, beyond which their squares cannot be summed.
FARTHEST_STATISTIC = 1e150
#: The arrays that a result is read from, with their dims.
ARRAYS = {
    "posterior": {name: ("chain", "draw", *dims) for name, dims in PARAMETER_DIMS.items()},
    "optima": {name: ("optimum", *dims) for name, dims in PARAMETER_DIMS.items()}
    | {"log_posterior": ("optimum",), "basin_share": ("optimum",)},
    "sample_stats": {"lp": ("chain", "draw"), "log_likelihood_total": ("chain", "draw")},
    "observed_data": {"observations": ("observation", "feature")},
    "constant_data": {"sample_weight": ("observation",), "origin": ("feature",), "unit": ("feature",)},
}


def save_tree(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write the tree as NetCDF, with a checksum after its end, where HDF5 does not look.

    It is made in memory: HDF5 crashes the process, at its end, where a disk is full.

    Raises
    ------
    DataError
        If rows have names that a file would not give back.
    OSError
        If it cannot be written: the message says where and how large it is; the file there was before stays.
    """
    _check_names(tree)
    made = io.BytesIO()
    tree.to_netcdf(made, engine="h5netcdf")
    content = made.getvalue()
    content += CHECKSUM + digest(content)
    try:
        write_whole(path, lambda temporary: Path(temporary).write_bytes(content))
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(
            error.errno, f"the result of {len(content):,} bytes cannot be written to {str(path)!r}: {error.strerror}"
        ) from error


def load_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a tree into memory and check that it is a result.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    LoadError
        If it is not a result of this package, is damaged, or of a later schema version.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {str(path)!r}")
    if not path.is_file():
        raise LoadError(f"{str(path)!r} is not a file")
    try:
        content = path.read_bytes()
        check_bytes(content)
        tree = _read(content)
        _check(tree)
    except LoadError as error:
        raise LoadError(f"{str(path)!r} {error}") from error
    # h5py, h5netcdf and xarray raise nearly anything on bytes that are wrong; all of it means one thing here.
    except Exception as error:
        raise LoadError(
            f"{str(path)!r} is not a result saved by bayesgmm, or is damaged ({type(error).__name__}: {error})"
        ) from error
    return tree


def _read(content: bytes) -> xr.DataTree:
    """Load every value, once the bytes are known to be a plain table of groups of sane size."""
    import h5py
    import xarray as xr

    # From memory: xarray leaves a file open where it cannot read it.
    with h5py.File(io.BytesIO(content), "r") as file:
        check_plain(file, content)
    with xr.open_datatree(io.BytesIO(content), engine="h5netcdf", decode_times=_dates()) as tree:
        return tree.load()


def _dates() -> Any:
    """Return what reads dates of any year: in seconds, or as fine as they are."""
    from xarray.coders import CFDatetimeCoder

    return CFDatetimeCoder(time_unit="s")


def _check_names(tree: xr.DataTree) -> None:
    """Refuse names of rows that a file would not give back."""
    import xarray as xr

    names, made, reason = dataset(tree, "observed_data")["observation"], io.BytesIO(), ""
    if names.dtype.kind in "biufU":
        return
    try:
        xr.Dataset(coords={"observation": names}).to_netcdf(made, engine="h5netcdf")
        with xr.open_dataset(made, engine="h5netcdf", decode_times=_dates()) as read:
            back = read["observation"].values
        is_kept = back.dtype.kind in "mM" and np.array_equal(back, names.values, equal_nan=True)
    # xarray raises nearly anything on dates that it cannot write.
    except Exception as error:
        is_kept, reason = False, f" ({error})"
    if not is_kept:
        raise DataError(
            f"rows have names of type {names.dtype} that no file can hold{reason}; make them text before the fit, as "
            "by `data.index = data.index.astype(str)`"
        )


def _check(tree: xr.DataTree) -> None:
    """Refuse a tree that lacks a part, or whose parts are no mixture or do not fit each other."""
    if tree.attrs.get("schema") != "bayesgmm":
        raise LoadError("is not a result saved by bayesgmm")
    _check_attributes(tree.attrs)
    traced = () if tree.attrs["kind"] == "posterior" else ("trace",)
    missing = [name for name in (*GROUPS, *traced) if name not in tree.children]
    if missing:
        raise LoadError(f"lacks the groups {missing}: it is damaged")
    for group, dims in ARRAYS.items():
        for name, own in dims.items():
            _check_array(dataset(tree, group)[name], own)
    _check_sizes(tree)
    _check_values(tree)


def _check_attributes(attrs: Any) -> None:
    """Refuse a schema version that this package cannot read, and facts of the run that are none."""
    found = attrs["schema_version"]
    if found > SCHEMA_VERSION:
        raise LoadError(f"has schema version {found}, this bayesgmm reads up to {SCHEMA_VERSION}; upgrade it")
    if found != int(found) or found < 1:
        raise LoadError(f"has schema version {found}, which never was: it is damaged")
    if not 0 <= float(attrs["seconds"]) < np.inf or not {attrs["converged"], attrs.get("named", 1)} <= {0, 1}:
        raise LoadError("does not say how long the fit took or whether it converged: it is damaged")
    facts, said = json.loads(attrs["facts"]), json.loads(attrs["warnings"])
    known = all(isinstance(fact, float) for fact in facts.values())
    known = known and all(name in WARNINGS and isinstance(sentence, str) for name, sentence in said)
    known = known and attrs.get("relabelling", "em") in (*METHODS, "none")
    known = known and re.fullmatch(r"None|[0-9]{1,30}", attrs.get("seed", "None")) is not None
    if attrs["kind"] not in DRAW_KINDS or not known:
        raise LoadError("does not say what its draws are, or what is doubtful about them: it is damaged")


def _check_sizes(tree: xr.DataTree) -> None:
    """Refuse groups that do not agree on the number of components, features or rows."""
    table, posterior = dataset(tree, "observed_data"), dataset(tree, "posterior")
    k, d = json.loads(tree.attrs["model"])["n_components"], table.sizes["feature"]
    expected = {
        "component": k,
        "feature": d,
        "feature_bis": d,
        "observation": table.sizes["observation"],
        "chain": posterior.sizes["chain"],
        "draw": posterior.sizes["draw"],
    }
    # Other groups are ArviZ's or the user's: predictions, draws of the prior, a thinned part of these.
    for group, members in ((name, tree.children[name]) for name in (*GROUPS, *PERHAPS) if name in tree.children):
        wrong = [dim for dim, size in members.dataset.sizes.items() if expected.get(str(dim), size) != size]
        if wrong:
            raise LoadError(f"has a group {group!r} of another number of {wrong[0]}s: it is damaged")
    if len(np.unique(table["feature"].values)) < d:
        raise LoadError("has two features of one name: it is damaged")


def _check_values(tree: xr.DataTree) -> None:
    """Refuse numbers that no fit can have written."""
    optima, table, constant = (dataset(tree, group) for group in ("optima", "observed_data", "constant_data"))
    origin, unit, weight = (constant[name].values for name in ("origin", "unit", "sample_weight"))
    with np.errstate(all="ignore"):
        fits = ((unit > SMALLEST_UNIT) & (unit < 1 / SMALLEST_UNIT)).all() and (weight >= 0).all()
        if not fits or not 1 < weight.sum() < FARTHEST:
            raise LoadError("has units or row weights that are not positive, or beyond reason: it is damaged")
        if (np.abs(table["observations"].values[weight > 0] - origin) > FARTHEST * unit).any():
            raise LoadError("has rows that are nowhere near their origin: it is damaged")
    named = json.loads(tree.attrs["model"])
    for group in ("posterior", "optima"):
        if not are_mixtures(parameters_of(dataset(tree, group)), named["covariance_type"], origin, unit):
            raise LoadError(f"has a group {group!r} whose draws are no mixtures: it is damaged")
    _check_optima(optima)
    _check_stats(tree)
    if "allocation" in tree.children:
        _check_labels(tree)
    if named["prior"] != "flat":
        prior = prior_of(tree).bound(named["n_components"], len(unit), named["covariance_type"])
        if not np.isfinite(prior.log_density(parameters_of(optima))).all():
            raise LoadError("has a prior that its optima cannot have: it is damaged")


def _check_optima(optima: xr.Dataset) -> None:
    """Refuse what is said of optima and cannot be."""
    if optima.attrs.get("pivot", 0) not in range(optima.sizes["optimum"]):
        raise LoadError("has draws that carry the labels of no optimum: it is damaged")
    dropped, share = optima.attrs.get("dropped_starts", 0), optima["basin_share"].values
    if dropped != int(dropped) or dropped < 0 or share.min() < 0 or share.max() > 1 + 1e-9:
        raise LoadError("has optima to which no share of the starts led: it is damaged")
    said = [optima["spurious"], *(optima[name] for name in ("converged", "by_draws") if name in optima)]
    if not all(each.dims == ("optimum",) and np.isin(each.values, (0, 1)).all() for each in said):
        raise LoadError("does not say which starts converged, or which optima are sound: it is damaged")


def _check_stats(tree: xr.DataTree) -> None:
    """Refuse numbers about draws or iterations that are missing, or beyond reason."""
    stats = dataset(tree, "sample_stats")
    order = stats.get("label_order")
    k = dataset(tree, "posterior").sizes["component"]
    if order is not None and (order.shape[-1] != k or (np.sort(order.values, axis=-1) != np.arange(k)).any()):
        raise LoadError("has labels that are no permutation: it is damaged")
    groups = [stats, dataset(tree, "optima"), *(dataset(tree, name) for name in PERHAPS if name in tree.children)]
    pair = ("chain", "draw")
    if any(array.dims not in (pair, (*pair, "component")) for array in stats.data_vars.values()):
        raise LoadError("has numbers about draws that are not one for each: it is damaged")
    steps = dataset(tree, "trace").data_vars.items() if "trace" in tree.children else ()
    if any(array.dims != ("iteration", *PARAMETER_DIMS.get(str(name), ())) for name, array in steps):
        raise LoadError("has numbers about iterations that are not one for each: it is damaged")
    for name, array in ((name, array) for group in groups for name, array in group.data_vars.items()):
        if array.dtype.kind not in "biuf" or not (np.abs(array.values.astype(float)) < FARTHEST_STATISTIC).all():
            raise LoadError(f"has {name!r} of {array.dtype}, or numbers of it are missing or huge: it is damaged")


def _check_labels(tree: xr.DataTree) -> None:
    """Refuse labels of rows that name no component, or do not fit rows and draws."""
    labels, posterior = dataset(tree, "allocation")["labels"], dataset(tree, "posterior")
    rows = int((dataset(tree, "constant_data")["sample_weight"] > 0).sum())
    fits = labels.dims == ("chain", "kept_draw", "counted") and labels.shape[2] == rows and labels.shape[1] > 0
    fits = fits and posterior.sizes["draw"] % labels.shape[1] == 0 and labels.dtype == np.int16
    if not fits or labels.min() < 0 or labels.max() >= posterior.sizes["component"]:
        raise LoadError("has labels of rows that do not fit its rows, draws or components: it is damaged")


def _check_array(array: Any, dims: tuple[str, ...]) -> None:
    if array.dims != dims or array.dtype != np.float64 or 0 in array.shape or not np.isfinite(array.values).all():
        raise LoadError(f"has {array.name!r} with dims {array.dims} of {array.dtype}, or not finite: it is damaged")
