"""Results on disk: NetCDF files, written whole or not at all, and read without trust."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.errors import LoadError
from bayesgmm.schema import HYPERPARAMETER_DIMS, PARAMETER_DIMS, SCHEMA_VERSION

if TYPE_CHECKING:
    import xarray as xr

#: Groups without which a file is no result.
GROUPS = ("posterior", "sample_stats", "observed_data", "constant_data", "optima", "prior_hyperparameters")
#: A file may unfold to so many bytes, or so many times its size, whichever is more.
MOST_BYTES, MOST_EXPANSION = 64 * 2**20, 20


def write_whole(path: str | os.PathLike[str], write: Callable[[str], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: no file is ever half written."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name!r} into")
    handle, temporary = tempfile.mkstemp(suffix=".partial", dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_tree(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write the tree as NetCDF."""
    write_whole(path, lambda temporary: tree.to_netcdf(temporary, engine="h5netcdf"))


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


def _read(path: Path) -> xr.DataTree:
    """Load every value, once the sizes that the file claims are known to be sane."""
    import h5py
    import xarray as xr

    with h5py.File(path, "r") as file:
        sizes: list[int] = []
        file.visititems(lambda _, node: sizes.append(node.nbytes) if isinstance(node, h5py.Dataset) else None)
        if _has_links(file):
            raise LoadError("holds links to elsewhere, which no result does")
    if sum(sizes) > max(MOST_BYTES, MOST_EXPANSION * path.stat().st_size):
        raise LoadError(f"claims {sum(sizes)} bytes of values in {path.stat().st_size} bytes: damaged or hostile")
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def _has_links(group: Any) -> bool:
    """Whether a group, or one below it, points into another file or by a symbolic name."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return True
        if isinstance(group[name], h5py.Group) and _has_links(group[name]):
            return True
    return False


def _check(tree: xr.DataTree) -> None:
    """Refuse a tree that lacks a part, or whose parts do not fit each other."""
    if tree.attrs.get("schema") != "bayesgmm":
        raise LoadError("is not a result saved by bayesgmm")
    if int(tree.attrs["schema_version"]) > SCHEMA_VERSION:
        raise LoadError(
            f"has schema version {tree.attrs['schema_version']}, this bayesgmm reads up to {SCHEMA_VERSION}; upgrade it"
        )
    missing = [name for name in GROUPS if name not in tree.children]
    if missing:
        raise LoadError(f"lacks the groups {missing}: it is damaged")
    for group, grid in (("posterior", ("chain", "draw")), ("optima", ("optimum",))):
        for name, dims in PARAMETER_DIMS.items():
            _check_array(tree[group][name], (*grid, *dims))
    for name, array in tree["prior_hyperparameters"].data_vars.items():
        _check_array(array, HYPERPARAMETER_DIMS[str(name)])
    _check_array(tree["observed_data"]["observations"], ("observation", "feature"))
    for name in ("origin", "unit"):
        _check_array(tree["constant_data"][name], ("feature",))
    _check_array(tree["constant_data"]["sample_weight"], ("observation",))


def _check_array(array: Any, dims: tuple[str, ...]) -> None:
    if array.dims != dims or array.dtype != np.float64 or 0 in array.shape or not np.isfinite(array.values).all():
        raise LoadError(f"has {array.name!r} with dims {array.dims} of {array.dtype}, or not finite: it is damaged")
