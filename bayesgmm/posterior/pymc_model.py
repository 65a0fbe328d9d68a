"""The transparent PyMC model: named random variables, and the likelihood as one fused operation.

This and `pymc_operations` are the only modules that import PyMC and PyTensor; they are imported late.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.distribution import _support_point as support_point
from pytensor.tensor.linalg import cholesky

from bayesgmm.data import Observations, Reading
from bayesgmm.errors import ModelError
from bayesgmm.model import covariance as cov
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import CovarianceType, MixtureParameters
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, Prior, SemiConjugatePrior, SeparationPrior
from bayesgmm.posterior.compact import Coordinates, Whitening
from bayesgmm.posterior.pymc_operations import LowerInverse, MixtureLogDensity, WhitenedLogPosterior
from bayesgmm.posterior.variables import initial_values, pairs_of, variable_dims


def build_compact_model(whitening: Whitening) -> pm.Model:
    """Return the compact form as a PyMC model: ``eta``, about standard normal, and one potential."""
    with pm.Model() as model:
        eta = pm.Flat("eta", shape=whitening.centre.size)
        pm.Potential("log_posterior", WhitenedLogPosterior(whitening)(eta)[0])  # pyright: ignore
    return model


class TableModel(pm.Model):
    """A PyMC model of a table: names of rows follow `set_data`, and columns of a data frame are found by name."""

    def set_data(self, name: str, values: Any, coords: Any = None) -> None:
        """Set rows or their weights; names of rows are those of a frame, or numbers where their count changes."""
        rows, *columns = self.named_vars_to_dims.get(name) or ("",)
        given = dict(coords or {})
        if str(rows).split("::")[-1] == "observation" and rows not in given:
            index = getattr(values, "index", None)
            if columns and hasattr(values, "columns"):
                features = tuple(map(str, self.coords[columns[0]] or ()))
                table = Observations.of(values, reading=Reading(of_fit=features)).matching(features)
                values, index = table.values, table.index
            values = np.asarray(values, dtype=float)
            if index is not None or len(values) != len(self.coords[rows] or ()):
                given[rows] = np.arange(len(values)) if index is None else np.asarray(index)
        super().set_data(name, values, coords=given)


def build_pymc_model(data: Any, model: Any, *, start: MixtureParameters | None = None, name: str = "") -> pm.Model:
    """Return the mixture as a PyMC model that can be read, drawn, edited and sampled.

    Parameters
    ----------
    data : array (n,) or (n, d), DataFrame, xarray object or Observations
        It enters through ``pm.Data("x")`` and ``pm.Data("sample_weight")``.
    model : int or MixtureModel
        With a proper prior.
    start : MixtureParameters, optional
        For example ``fit(..., engine="em").parameters``; in data units.
    name : str, optional
        Put before the names of variables and dims, as in ``name::weights``: for several mixtures in one model, each
        built inside ``with pm.Model():``.

    Returns
    -------
    pymc.Model
        Random variables and deterministics ``weights``, ``means``, ``covariances`` with dims
        ``component``, ``feature`` and ``feature_bis``; the likelihood ``observations``. Variables start where
        ``start`` says (`Model.initial_point`), also in copies of the model. Its attribute ``initvals`` holds the start
        as a dict for ``pm.sample(initvals=...)``, empty if there is none.

    Raises
    ------
    DataError, ModelError
        If data or model do not fit, the prior is flat, or a model around it has variables of the same names.

    Notes
    -----
    The posterior of a result, ``fit(...).tree``, has the values of all random variables, so that
    ``pm.sample_posterior_predictive`` and ``pm.compute_log_likelihood`` take it for the model of the same data and
    prior. `MixtureResult.from_draws` makes a result of draws from an edited model.

    Under the default prior the scale of the covariances is a variable, ``scale``, and the potential ``floor`` holds how
    the floor depends on it. PyMC warns of potentials when it draws predictive rows: those of a posterior are right.

    Sample from a start with ``compile_kwargs={"jitter_rvs": set()}`` (nutpie) or ``init="adapt_diag"``
    (PyMC's sampler): by default both add a jitter that throws chains out of the mode. The likelihood compiles to
    numba, C and JAX; second derivatives exist in JAX alone. To fit many tables, compile
    once: ``nutpie.compile_pymc_model(model).with_data(x=..., sample_weight=...)`` takes any number of rows. (The NUTS
    engine compiles nothing for a new table.)

    Examples
    --------
    >>> import bayesgmm as bg
    >>> model = bg.build_pymc_model(bg.datasets.load_faithful(), 2)
    >>> sorted(v.name for v in model.free_RVs)
    ['means', 'precision_chi', 'precision_lower', 'scale_chi', 'scale_lower', 'weights']
    """
    seen, mixture = Observations.of(data), MixtureModel.of(model)
    mixture.seen(seen)
    prior = mixture.prior_for(seen)
    if not prior.is_proper:
        raise ModelError("prior='flat' has an improper posterior, which cannot be sampled; use engine='em'")
    around = pm.Model.get_context(error_if_none=False)
    if around is not None and (f"{name}::x" if name else "x") in around.named_vars:
        raise ModelError(f"the model around this one has a mixture with name={name!r} already; give it another `name`")
    values = None if start is None else initial_values(prior, start)
    built = _build(seen, prior, values, name)
    built.initvals = {} if values is None else {built.name_for(key): value for key, value in values.items()}  # pyright: ignore
    return built


def build_standardised_model(data: Observations, prior: Prior) -> pm.Model:
    """Return the transparent model in the coordinates in which ``data`` is seen, as the NUTS engine samples it."""
    return _build(replace(data, values=(data.values - data.origin) / data.unit), prior)


def _build(data: Observations, prior: Prior, values: dict[str, np.ndarray] | None = None, name: str = "") -> pm.Model:
    kind, (k, d), dims = prior.covariance_type, prior.loc.shape, _Dims(prior, name)
    coords = {
        "component": np.arange(k),
        "feature": list(data.features),
        "feature_bis": list(data.features),
        "feature_pair": pairs_of(data.features),
        "observation": data.index,
    }
    with TableModel(name=name, coords={dims.named(dim): values for dim, values in coords.items()}) as model:
        x = pm.Data("x", data.values, dims=dims.each("observation", "feature"))
        sample_weight = pm.Data("sample_weight", np.array(data.sample_weight), dims=dims.each("observation"))
        weights = pm.Dirichlet("weights", a=prior.concentration, dims=dims["weights"])
        separate = isinstance(prior, SeparationPrior)
        factors = _separation_factors(prior, dims) if separate else _bartlett_factors(prior, dims)
        roots = _inverse(factors)
        # Sums of products here and below: PyTensor compiles batched matrix products for tens of seconds.
        products = (roots[:, :, :, None] * roots[:, :, None, :]).sum(axis=1)
        covariances = pm.Deterministic("covariances", products, dims=dims.each("component", "feature", "feature_bis"))
        means = _means(prior, roots, dims)
        density = MixtureLogDensity(cov.is_diagonal(kind))

        def log_density(rows: Any, w: Any, m: Any, f: Any, _: Any, counted: Any) -> Any:
            # PyMC gives the parameters a leading axis of length one for the rows.
            inputs = (w.reshape((k,)), m.reshape((k, d)), f.reshape((k, d, d)))
            return density(*inputs, rows, counted)[0]  # pyright: ignore

        pm.CustomDist(
            "observations",
            *(weights, means, factors, covariances, sample_weight),
            logp=log_density,
            random=_random_rows,
            signature="(k),(k,d),(k,d,d),(k,d,d),()->(d)",
            observed=x,
            dims=dims.each("observation", "feature"),
        )
        for variable in model.free_RVs if values else ():
            start_at(variable, values[str(variable.name).removeprefix(f"{model.name}::")])  # pyright: ignore
    return model


class _Dims:
    """Dims of the variables of a model, whose name stands before each."""

    def __init__(self, prior: Prior, name: str) -> None:
        self.of_variables, self.name = variable_dims(prior), name

    def named(self, dim: str) -> str:
        """Return a dim with the model's name before it."""
        return f"{self.name}::{dim}" if self.name else dim

    def each(self, *dims: str) -> tuple[str, ...]:
        """Return several dims."""
        return tuple(map(self.named, dims))

    def __getitem__(self, variable: str) -> tuple[str, ...]:
        """Return the dims of a random variable."""
        return self.each(*self.of_variables[variable])


def start_at(variable: Any, value: np.ndarray) -> None:
    """Make a value the support point of a random variable, from which PyMC, nutpie and their copies start.

    PyMC's own ``initval`` does not survive: a model that has any cannot be copied, nor asked for log-likelihoods.
    """
    node = variable.owner
    started = copy(node.op)
    started.__class__ = _started(type(node.op))
    started.start = value
    node.op = started


@cache
def _started(kind: type) -> type:
    """Return the kind of random variable that has a support point of its own."""
    started = type(kind.__name__, (kind,), {"__module__": kind.__module__})

    @support_point.register(started)
    def _(op: Any, *_: Any) -> Any:
        return pt.constant(op.start)

    return started


def _bartlett_factors(prior: ConjugatePrior | HierarchicalPrior | SemiConjugatePrior, dims: _Dims) -> Any:
    """Return precision factors (k, d, d): ``root A``, the squares of A's diagonal chi-squared, the rest normal."""
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    unknown = isinstance(prior, HierarchicalPrior)
    root = _root_of_unknown_scale(prior, dims) if unknown else Coordinates.of(prior, d).root
    dof = cov.per_block(prior.dof, kind, d)[:, None] - np.arange(cov.block_size(kind, d))
    shape = (k, d) if kind == "diag" else dof.shape if kind == "full" else (dof.size,)
    chi: Any = pm.ChiSquared("precision_chi", nu=dof.reshape(shape), dims=dims["precision_chi"])
    lower: Any = None
    if dof.shape[1] > 1:
        lower = pm.Normal("precision_lower", 0, 1, dims=dims["precision_lower"])
    a = _bartlett(chi.reshape(dof.shape), lower)
    return _per_component((root[:, :, :, None] * a[:, None]).sum(axis=2), kind, k, d)


def _bartlett(chi: Any, lower: Any) -> Any:
    """Return lower triangular matrices (b, p, p), from squares (b, p) of their diagonals and what is below."""
    blocks, p = chi.type.shape
    diagonal, (rows, columns) = np.arange(p), np.tril_indices(p, -1)
    a: Any = pt.zeros((blocks, p, p))
    a = a[:, diagonal, diagonal].set(chi**0.5)
    return a if lower is None else a[:, rows, columns].set(lower.reshape((blocks, len(rows))))


def _root_of_unknown_scale(prior: HierarchicalPrior, dims: _Dims) -> Any:
    """Return precision roots (b, p, p) at the random variable ``scale``, to which the floor is added.

    The covariances are drawn given scale and floor; the floor as a factor of their density (`HierarchicalPrior`) has
    another constant, which depends on the scale: the potential ``floor``.
    """
    kind, (k, d), floor = prior.covariance_type, prior.loc.shape, np.diag(prior.known_scale[0])
    half = cov.per_block(prior.dof, kind, 1).sum() / 2
    if cov.is_diagonal(kind):
        rate = np.diag(prior.scale_rate)
        rate, floor = (rate, floor) if kind == "diag" else (rate[0], floor[0])
        scale: Any = pm.Gamma("scale", alpha=prior.scale_dof / 2, beta=rate / 2, dims=dims["scale"])
        share: Any = pt.log(scale / (scale + floor))
        pm.Potential("floor", half * share.sum())
        of_component = (scale + floor).reshape((1, -1)) * np.ones((k, 1))
        return (of_component**-0.5).reshape((-1, 1, 1))
    chi: Any = pm.ChiSquared("scale_chi", nu=prior.scale_dof - np.arange(d), dims=dims["scale_chi"])
    lower = pm.Normal("scale_lower", 0, 1, dims=dims["scale_lower"]) if d > 1 else None
    root = np.linalg.cholesky(np.linalg.inv(prior.scale_rate))
    own = (root[:, :, None] * _bartlett(chi.reshape((1, d)), lower)).sum(axis=1)
    scale = (own[:, None] * own[None]).sum(axis=2)
    pm.Deterministic("scale", scale, dims=dims.each("feature", "feature_bis"))
    # Cholesky from the last row up, whose inverse transpose is lower triangular.
    reversed_root: Any = cholesky((scale + np.diag(floor))[::-1, ::-1])
    upper = reversed_root[::-1, ::-1]
    pivots: Any = pt.diagonal(upper)
    log_ratios: Any = pt.log(chi * np.diag(root) ** 2 / pivots**2)
    pm.Potential("floor", half * log_ratios.sum())
    return _inverse(upper.T[None])


def _per_component(blocks: Any, kind: CovarianceType, k: int, d: int) -> Any:
    """Write blocks out as k matrices: `covariance.from_blocks` for PyTensor."""
    if kind == "full":
        return blocks
    if kind == "tied":
        return pt.repeat(blocks, k, axis=0)
    return blocks.reshape((k, d if kind == "diag" else 1))[..., None] * np.eye(d)


def _separation_factors(prior: SeparationPrior, dims: _Dims) -> Any:
    """Return precision factors (k, d, d) from half-normal deviations and LKJ correlations."""
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    if cov.is_diagonal(kind):
        width = prior.deviation if kind == "diag" else prior.deviation[:, 0]
        deviation = pm.HalfNormal("deviation", width, dims=dims["deviation"])
        return _per_component((1 / deviation).reshape((width.size, 1, 1)), kind, k, d)
    # Of the features in reverse order, for there the inverse transpose of a lower factor is lower again.
    blocks = [_lkj_factor(prior, c) for c in range(1 if kind == "tied" else k)]
    return _per_component(pt.stack(blocks), kind, k, d)


def _lkj_factor(prior: SeparationPrior, component: int) -> Any:
    widths = pm.HalfNormal.dist(prior.deviation[component, ::-1], shape=prior.loc.shape[1])
    name, n = f"cholesky_reversed_{component}", prior.loc.shape[1]
    lower, _, _ = pm.LKJCholeskyCov(name, eta=prior.lkj, n=n, sd_dist=widths, store_in_trace=False)
    return _inverse(lower[None])[0].T[::-1, ::-1]


def _inverse(lower: Any) -> Any:
    """Return the inverses of lower triangular matrices (m, d, d)."""
    return LowerInverse()(lower)


def _means(prior: Prior, roots: Any, dims: _Dims) -> Any:
    """Return the means (k, d), given the inverses of the precision factors."""
    if isinstance(prior, ConjugatePrior):
        offset: Any = pm.Normal("means_offset", 0, 1, dims=dims["means_offset"])
        shift = (roots * offset[:, :, None]).sum(axis=1) / np.sqrt(prior.shrinkage)[:, None]
        return pm.Deterministic("means", prior.loc + shift, dims=dims["means_offset"])
    return pm.MvNormal("means", mu=prior.loc, chol=np.linalg.cholesky(prior.loc_covariance), dims=dims["means"])


def _random_rows(
    weights: Any, means: Any, factors: Any, covariances: Any, counted: Any, rng: Any = None, size: Any = None
) -> np.ndarray:
    """Draw rows: a component each, then a normal vector about its mean; PyMC may add leading axes.

    The covariances may be those of a posterior whose factors are not known.
    """
    del factors, counted
    shape = weights.shape[:-1] if size is None else tuple(size)
    labels = (rng.random(shape)[..., None] > np.cumsum(weights, axis=-1)[..., :-1]).sum(axis=-1)
    noise = rng.standard_normal((*shape, means.shape[-1]))
    k, d = means.shape[-2:]
    roots = np.broadcast_to(np.linalg.cholesky(covariances), (*shape, k, d, d))
    own = np.take_along_axis(roots, labels[..., None, None, None], axis=-3)[..., 0, :, :]
    centre = np.take_along_axis(np.broadcast_to(means, (*shape, k, d)), labels[..., None, None], axis=-2)[..., 0, :]
    return centre + np.einsum("...ij,...j->...i", own, noise)


def random_initial_values(prior: Prior, starts: list[MixtureParameters]) -> dict[str, Any]:
    """Return, for every random variable, one of several values drawn anew for each chain."""
    each = [initial_values(prior, start) for start in starts]
    last = len(each) - 1
    return {name: pt.constant(np.stack([v[name] for v in each]))[pm.DiscreteUniform.dist(0, last)] for name in each[0]}


def sample_with_pymc(model: pm.Model, values: list[dict[str, Any]], progress: bool, **options: Any) -> Any:
    """Sample by PyMC's own NUTS from one start per chain, without jitter."""
    sample: Any = pm.sample
    with model:
        return sample(
            initvals=values,
            init="adapt_diag",
            nuts_sampler="pymc",
            progressbar=progress,
            compute_convergence_checks=False,
            quiet=not progress,
            **options,
        )
