"""Results on disk: NetCDF files, written whole or not at all, and read without trust."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.arguments import is_covariance
from bayesgmm.errors import WARNINGS, LoadError
from bayesgmm.parameters import DRAW_KINDS
from bayesgmm.relabel import METHODS
from bayesgmm.schema import PARAMETER_DIMS, SCHEMA_VERSION, dataset, parameters_of, prior_of

if TYPE_CHECKING:
    import xarray as xr

#: Groups without which a file is no result.
GROUPS = ("posterior", "sample_stats", "observed_data", "constant_data", "optima", "prior_hyperparameters")
#: Those that some results have.
PERHAPS = ("trace", "allocation")
#: A file may unfold to so many bytes, or so many times its size, whichever is more.
MOST_BYTES, MOST_EXPANSION = 64 * 2**20, 20
#: Most members of one group.
MOST_MEMBERS = 64
#: What stands before the checksum.
CHECKSUM = b"\nbayesgmm sha256 "
#: The arrays that a result is read from, with their dims.
ARRAYS = {
    "posterior": {name: ("chain", "draw", *dims) for name, dims in PARAMETER_DIMS.items()},
    "optima": {name: ("optimum", *dims) for name, dims in PARAMETER_DIMS.items()}
    | {"log_posterior": ("optimum",), "basin_share": ("optimum",)},
    "sample_stats": {"lp": ("chain", "draw"), "log_likelihood_total": ("chain", "draw")},
    "observed_data": {"observations": ("observation", "feature")},
    "constant_data": {"sample_weight": ("observation",), "origin": ("feature",), "unit": ("feature",)},
}


def write_whole(path: str | os.PathLike[str], write: Callable[[str], Any]) -> None:
    """Let ``write`` make a file or folder beside ``path``, then rename it: nothing is ever half written.

    A file that is there is replaced and keeps its mode, that to which a symbolic link leads too; a folder, a device, a
    pipe or a socket is not.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name!r} into")
    if path.is_dir():
        raise FileExistsError(f"{str(path)!r} exists; give another name, or remove it")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{str(path)!r} is a device, a pipe or a socket, not a file; give another name")
    with tempfile.TemporaryDirectory(suffix=".partial", dir=path.parent) as folder:
        written = Path(folder, path.name)
        write(str(written))
        if path.is_file():
            written.chmod(stat.S_IMODE(path.stat().st_mode))
        written.replace(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text whole, and return its path."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
    return Path(path)


def save_tree(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write the tree as NetCDF, with a checksum after its end, where HDF5 does not look.

    It is made in memory: HDF5 crashes the process, at its end, where a disk is full.

    Raises
    ------
    OSError
        If it cannot be written: the message says where and how large it is; the file there was before stays.
    """
    made = io.BytesIO()
    tree.to_netcdf(made, engine="h5netcdf")
    content = made.getvalue()
    content += CHECKSUM + _digest(content)
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
        check_bytes(path.read_bytes())
        tree = _read(path)
        _check(tree)
    except LoadError as error:
        raise LoadError(f"{str(path)!r} {error}") from error
    # h5py, h5netcdf and xarray raise nearly anything on bytes that are wrong; all of it means one thing here.
    except Exception as error:
        raise LoadError(
            f"{str(path)!r} is not a result saved by bayesgmm, or is damaged ({type(error).__name__}: {error})"
        ) from error
    return tree


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def check_bytes(content: bytes, *, required: bool = False) -> None:
    """Refuse damage before the HDF5 library, which may hang on it, sees a byte.

    A file that another program has rewritten has no checksum, and is judged by what it holds where none is required.
    """
    at = content.rfind(CHECKSUM)
    if at < 0 and required:
        raise LoadError("it has no checksum")
    if at >= 0 and content[at + len(CHECKSUM) :] != _digest(content[:at]):
        raise LoadError("is damaged: its checksum is not that of its bytes")


def _read(path: Path) -> xr.DataTree:
    """Load every value, once the file is known to be a plain table of groups of sane size."""
    import h5py
    import xarray as xr

    with h5py.File(path, "r") as file:
        size = sum(_plain_bytes(_member(file, name, h5py.Group)) for name in _names(file))
    if size > max(MOST_BYTES, MOST_EXPANSION * path.stat().st_size):
        raise LoadError(f"claims {size} bytes of values in {path.stat().st_size} bytes: damaged or hostile")
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def _names(group: Any) -> list[str]:
    if len(group) > MOST_MEMBERS:
        raise LoadError(f"has {len(group)} members in one group, more than any result")
    return list(group)


def _member(group: Any, name: str, kind: type) -> Any:
    """Return a member, refused if it is a link to elsewhere or of another kind."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise LoadError("holds links to elsewhere, which no result does")
    if group.get(name, getclass=True) is not kind:
        raise LoadError(f"holds {name!r}, which is no {kind.__name__.lower()}: a result has groups of arrays alone")
    return group[name]


def _plain_bytes(group: Any) -> int:
    """Return the bytes that the arrays of a group unfold to, refused if they lie in another file."""
    import h5py

    arrays = [_member(group, name, h5py.Dataset) for name in _names(group)]
    if any(array.is_virtual or array.external for array in arrays):
        raise LoadError("holds arrays that lie in other files, which no result does")
    return sum(array.nbytes for array in arrays)


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
    if len(set(table["feature"].values.tolist())) < d:
        raise LoadError("has two features of one name: it is damaged")


def _check_values(tree: xr.DataTree) -> None:
    """Refuse numbers that no fit can have written."""
    for group in ("posterior", "optima"):
        parameters = parameters_of(dataset(tree, group))
        shares = np.abs(parameters.weights.sum(axis=-1) - 1).max() < 1e-6 and (parameters.weights >= 0).all()
        if not shares or not is_covariance(parameters.covariances):
            raise LoadError(f"has a group {group!r} whose draws are no mixtures: it is damaged")
    optima, constant = dataset(tree, "optima"), dataset(tree, "constant_data")
    if optima.attrs.get("pivot", 0) not in range(optima.sizes["optimum"]):
        raise LoadError("has draws that carry the labels of no optimum: it is damaged")
    weight = constant["sample_weight"].values
    if (constant["unit"] <= 0).any() or (weight < 0).any() or weight.sum() <= 1:
        raise LoadError("has units or row weights that are not positive: it is damaged")
    converged = dataset(tree, "optima").get("converged")
    if converged is not None and (converged.dims != ("optimum",) or not np.isin(converged.values, (0, 1)).all()):
        raise LoadError("does not say which starts converged: it is damaged")
    order = dataset(tree, "sample_stats").get("label_order")
    if order is not None and not (np.sort(order.values, axis=-1) == np.arange(order.shape[-1])).all():
        raise LoadError("has labels that are no permutation: it is damaged")
    if "allocation" in tree.children:
        _check_labels(tree)
    named = json.loads(tree.attrs["model"])
    if named["prior"] != "flat":
        prior_of(tree).bound(named["n_components"], constant.sizes["feature"], named["covariance_type"])


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
