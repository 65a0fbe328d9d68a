"""The door: check what was given, run an engine, build the result."""

from __future__ import annotations

import json
import os
import time
import warnings
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from bayesgmm.arguments import random_generator
from bayesgmm.data import Reading, Rows, rows_of
from bayesgmm.engines.elsewhere import Elsewhere
from bayesgmm.engines.em import starting_values as initialize
from bayesgmm.engines.em.em import EM
from bayesgmm.engines.gibbs.gibbs import Gibbs
from bayesgmm.engines.nuts.nuts import NUTS
from bayesgmm.errors import LoadError, ModelError
from bayesgmm.model.given import one_mixture
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import Draws, MixtureParameters
from bayesgmm.model.priors import Prior
from bayesgmm.results.result import MixtureResult
from bayesgmm.results.storage import load_tree
from bayesgmm.results.tree import model_of, prior_of

#: Engines by the word that names them.
ENGINES = {"em": EM, "gibbs": Gibbs, "nuts": NUTS}


@runtime_checkable
class Engine(Protocol):
    """Frozen settings with a `run`: whatever has both can be given to `fit`."""

    def run(
        self,
        data: Rows,
        prior: Prior,
        start: MixtureParameters | None,
        rng: np.random.Generator,
        progress: bool = False,
    ) -> Draws:
        """Return draws, all in the coordinates in which ``data`` is seen."""
        ...


def fit(
    data: Any,
    model: MixtureModel | int,
    *,
    engine: Engine | str = "nuts",
    start: Any = None,
    sample_weight: Any = None,
    seed: Any = None,
    progress: bool = True,
    columns: Any = None,
    index: str | None = None,
    missing: Literal["refuse", "drop"] = "refuse",
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
) -> MixtureResult:
    """Fit a Gaussian mixture and return memberships with their uncertainty.

    Parameters
    ----------
    data : array (n,) or (n, d), list, DataFrame (pandas, polars), xarray object, Observations, path, Dask or Source
        Columns of numbers become features under their names, whatever their type ("$12.50" and "45 %" among them);
        what is left out, converted or set aside is said in a warning. A path is what the command line reads: .csv,
        .tsv, .txt, .parquet, .feather, .arrow, .xlsx, .json, also with .gz; a folder or pattern of .parquet, .npy or
        .zarr. These, a memory map, Dask array or data frame of more than 8 million values are read block by block.
    model : MixtureModel or int
        A number of components stands for full covariances and the default prior.
    engine : {"nuts", "gibbs", "em"} or an engine
        "em" is a point estimate: the posterior mode, or maximum likelihood under ``prior="flat"``.
    start : MixtureParameters, MixtureResult or int array (n,), optional
        Where EM starts, alone or ahead of sampling; otherwise from several starts of its own.
    sample_weight : array (n,) or str, optional
        Frequency weights, or the column that has them: weight 3 equals the row three times.
    seed : int or numpy Generator, optional
        The same seed gives the same bits, for any number of threads.
    progress : bool
        Whether samplers draw a progress bar.
    columns : list of str, or str, optional
        Features; all columns of numbers where not given, but those that number or name the rows. In one text they
        are separated by commas.
    index : str, optional
        Column that names the rows; where not given, one that is called like an id, or is text, and differs in each.
    missing : {"refuse", "drop"}
        What becomes of rows with missing values.
    separator, decimal, encoding : str, optional
        How a text file is written; recognised where not given.
    header : bool, optional
        Whether the first line of a text file names its columns; recognised where not given.

    Returns
    -------
    MixtureResult
        The same shape from every engine.

    Raises
    ------
    DataError
        If the table or its weights do not fit.
    FileNotFoundError
        If there is no such file.
    ModelError
        If the model, engine, start or seed do not fit, or memory does not hold the draws.
    SourceError
        If rows can no longer be read where they are kept, or their file has changed.
    DegenerateComponentError
        If under the flat prior every start of EM collapses.

    Warns
    -----
    DataWarning
        If something of the table was left out, set aside as names of the rows, converted or recognised.
    ConvergenceWarning
        If EM stopped early, or draws fail a diagnostic; it says what to do.
    LabelSwitchingWarning
        If labels switched often, or components can hardly be told apart.
    CacheWarning
        If compiled loops cannot be kept on disk, so that every process compiles them anew.
    EmptyComponentWarning
        If a component has no row in many draws, or at EM's estimate.
    DoubtfulGroupsWarning
        If a component rests on few rows, or lies on another; if there are more parameters than rows; if a column of
        two values, of coarse steps or of row numbers decides who belongs where.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> customers = bg.datasets.load_customers()
    >>> result = bg.fit(customers, 2, seed=1, progress=False)
    >>> this_one = result.memberships(customers.loc[["C200"]])
    >>> bool((this_one.lower <= this_one.probability).all())
    True
    """
    reading = Reading(columns, index, missing, separator, decimal, encoding, header)
    result = fitted(data, model, engine, start, sample_weight, seed, progress, reading)
    warn_of(result)
    return result


def warn_of(result: MixtureResult) -> None:
    """Say, once, each thing that keeps a fit from being trusted (samplers themselves say nothing)."""
    for warning in result.warnings:
        warnings.warn(warning, stacklevel=3)


def fitted(
    data: Any,
    model: MixtureModel | int,
    engine: Engine | str,
    start: Any,
    sample_weight: Any,
    seed: Any,
    progress: bool,
    reading: Reading,
) -> MixtureResult:
    """Fit as `fit` does, without a word on what keeps the result from being trusted: it is in ``warnings``."""
    runner = engine_of(engine)
    mixture, observations = MixtureModel.of(model), rows_of(data, sample_weight, reading)
    rng = random_generator(seed)
    if seed is None and getattr(runner, "checkpoint", None) is not None:
        raise ModelError("a fit with a `checkpoint` goes on only if it begins alike: give a seed")
    began = time.perf_counter()
    frame = mixture.frame_of(observations)
    seen, prior_as_given = mixture.seen(observations, frame), mixture.prior_for(observations, frame)
    prior = prior_as_given.in_units(seen.origin, seen.unit)
    _check_room(runner, mixture, observations)
    first = None if start is None else _start(start, seen, mixture, prior)
    draws = runner.run(seen.counted(), prior, first, rng, bool(progress))
    named = int(seed) if isinstance(seed, (int, np.integer)) else None
    seconds = time.perf_counter() - began
    return MixtureResult.of(draws, seen, mixture, runner, seed=named, seconds=seconds, prior=prior_as_given)


def _check_room(engine: Any, model: MixtureModel, data: Rows) -> None:
    """Refuse more draws than the memory of this machine holds, before any is taken."""
    draws, chains = getattr(engine, "draws", 0), getattr(engine, "chains", 1)
    if getattr(engine, "uncertainty", "") == "none" or not hasattr(os, "sysconf"):
        return
    d, memory = data.n_features, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = 8 * draws * chains * model.n_components * (1 + d + d * d)
    if needed > memory:
        raise ModelError(
            f"{draws:,} draws of {chains:,} chains take {needed / 1e9:,.0f} GB, but this machine has "
            f"{memory / 1e9:,.0f} GB of memory; take fewer `draws`"
        )


def engine_of(engine: Any) -> Engine:
    """Return an engine from its word, or check that it is one."""
    if isinstance(engine, str) and engine in ENGINES:
        return ENGINES[engine]()
    if isinstance(engine, type) or not isinstance(engine, Engine):
        raise ModelError(f"`engine` has to be one of {tuple(ENGINES)} or an engine such as EM(), got {engine!r}")
    return engine


def load(path: str | os.PathLike[str]) -> MixtureResult:
    """Read a result that `MixtureResult.save` wrote; nothing in a file is ever executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    LoadError
        If it is not a result of this package, is damaged, or newer than this version reads.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import bayesgmm as bg
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "faithful.nc"
    >>> result.save(path)
    >>> bool((bg.load(path).predict_proba() == result.predict_proba()).all())
    True
    """
    import xarray as xr

    from bayesgmm.results.carried import carrying

    tree = load_tree(path)
    try:
        # No file says where another is to be written.
        settings = {name: value for name, value in json.loads(tree.attrs["engine"]).items() if name != "checkpoint"}
        kinds = {settings_of.__name__: settings_of for settings_of in (*ENGINES.values(), Elsewhere)}
        kind = kinds[settings.pop("name")]
        tree["posterior"] = xr.DataTree(carrying(tree["posterior"].to_dataset(), prior_of(tree)))
        return MixtureResult(tree, kind(**settings), model_of(tree))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LoadError(f"{str(path)!r} describes no model or engine of this version ({error})") from error


def _start(start: Any, data: Rows, model: MixtureModel, prior: Prior) -> MixtureParameters:
    """Return the starting point in the coordinates in which the data are seen."""
    if isinstance(start, MixtureResult):
        start = start.parameters
    if isinstance(start, MixtureParameters):
        return _fitting(start, data, model).moved(data.origin, data.unit)
    try:
        labels = np.asarray(start)
    except ValueError as error:
        raise ModelError("`start` has to be parameters, a result or one label per row; it is ragged") from error
    if not np.issubdtype(labels.dtype, np.integer):
        raise ModelError(
            "`start` has to be MixtureParameters, a MixtureResult or whole-number labels, one per row, "
            f"got {type(start).__name__} of dtype {labels.dtype}"
        )
    return initialize.from_labels(labels, data, prior)


def _fitting(start: MixtureParameters, data: Rows, model: MixtureModel) -> MixtureParameters:
    """Refuse parameters of another shape, or that are no mixture."""
    expected = f"{model.n_components} components and {data.n_features} features"
    start = one_mixture(start, "start", expected)
    if start.means.shape != (model.n_components, data.n_features):
        raise ModelError(f"`start` has to be one mixture of {expected}, got means of shape {start.means.shape}")
    return start
