"""The transparent PyMC model: named random variables, and the likelihood as one fused operation.

This is the only module that imports PyMC and PyTensor; it is imported late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import (
    numba_njit,
    register_funcify_and_cache_key,
    register_funcify_default_op_cache_key,
)
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.exceptions import NotScalarConstantError
from pytensor.tensor.linalg import cholesky

from bayesgmm import covariance as cov
from bayesgmm.compact import SMALLEST_WEIGHT, Coordinates, Whitening
from bayesgmm.data import Observations
from bayesgmm.errors import ModelError
from bayesgmm.kernels.elementary import DIGEST, compiled_exactly
from bayesgmm.kernels.factors import lower_inverses, lower_inverses_gradient
from bayesgmm.kernels.likelihood import likelihood
from bayesgmm.kernels.posterior import whitened_log_posterior
from bayesgmm.model import MixtureModel
from bayesgmm.parameters import CovarianceType, MixtureParameters
from bayesgmm.priors import ConjugatePrior, HierarchicalPrior, Prior, SemiConjugatePrior, SeparationPrior
from bayesgmm.priors.densities import factorised

#: A number that changes with the compiled loops, so that PyTensor's own cache of them is not outlived.
KERNELS = int(DIGEST[:8], 16)
#: Of the function below, beside the kernels': a change leads to another key in PyTensor's cache.
CHECKED = 1
UNEQUAL = (
    "x, sample_weight and the parameters do not fit together: give pm.set_data both x (n, d) and sample_weight (n), "
    "of as many rows, and x of as many features as before"
)


@compiled_exactly
def is_unequal(weights, means, factors, x, sample_weight):
    """Return whether shapes differ where they must not: the loops read all of them by the lengths of one."""
    k, d = means.shape
    return (
        sample_weight.shape[0] != x.shape[0]
        or x.shape[1] != d
        or weights.shape[0] != k
        or factors.shape[0] != k
        or factors.shape[1] != d
        or factors.shape[2] != d
    )


class MixtureLogDensity(Op):
    """Weighted log density of every row, with the gradient of their sum from the same pass.

    Inputs: weights (k), means (k, d), lower-triangular precision factors (k, d, d), rows (n, d) and row
    weights (n). Outputs: log densities (n), then the gradient of their sum in the first three inputs.
    """

    __props__ = ("is_diagonal",)

    def __init__(self, is_diagonal: bool) -> None:
        self.is_diagonal = is_diagonal

    def make_node(self, *inputs: Any) -> Apply:
        """Build the node; everything is float64."""
        weights, means, factors, x, sample_weight = (pt.as_tensor(v, dtype="float64") for v in inputs)
        outputs = [pt.vector(shape=(x.type.shape[0],)), weights.type(), means.type(), factors.type()]
        return Apply(self, [weights, means, factors, x, sample_weight], outputs)

    def infer_shape(self, *arguments: Any) -> list[Any]:
        """Return the shapes of the outputs; the shapes of the inputs come last, in every version of PyTensor."""
        shapes = arguments[-1]
        return [(shapes[3][0],), *shapes[:3]]

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the pass."""
        weights, means, factors, x, sample_weight = (np.ascontiguousarray(v) for v in inputs)
        if is_unequal(weights, means, factors, x, sample_weight):
            raise ValueError(UNEQUAL)
        found = likelihood(weights, means, factors, x, sample_weight, self.is_diagonal)
        for storage, value in zip(output_storage, found, strict=True):
            storage[0] = value

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Return the gradient: that of the same pass if all rows count alike, else of a second one."""
        if any(not isinstance(g.type, DisconnectedType) for g in cotangents[1:]):
            raise NotImplementedError("the mixture likelihood has a gradient, but no second derivative")
        along, parameters, (x, sample_weight) = cotangents[0], inputs[:3], inputs[3:]
        data = [grad_not_implemented(self, at, inputs[at]) for at in (3, 4)]
        try:
            factor = get_underlying_scalar_constant_value(along)
        except NotScalarConstantError:
            return [*self(*parameters, x, sample_weight * along)[1:], *data]  # pyright: ignore
        return [*(factor * g for g in outputs[1:]), *data]  # pyright: ignore


@register_funcify_default_op_cache_key(MixtureLogDensity)
def _mixture_log_density_in_numba(op: MixtureLogDensity, **_: Any) -> tuple[Any, int]:
    is_diagonal = op.is_diagonal

    @numba_njit
    def mixture_log_density(weights, means, factors, x, sample_weight):
        if is_unequal(weights, means, factors, x, sample_weight):
            raise ValueError(UNEQUAL)
        return likelihood(
            np.ascontiguousarray(weights),
            np.ascontiguousarray(means),
            np.ascontiguousarray(factors),
            np.ascontiguousarray(x),
            np.ascontiguousarray(sample_weight),
            is_diagonal,
        )

    return mixture_log_density, KERNELS + CHECKED


class LowerInverse(Op):
    """Inverses of lower triangular matrices (m, d, d): compiles in a fraction of a batched triangular solve."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Build the node."""
        (matrices,) = (pt.as_tensor(v, dtype="float64") for v in inputs)
        return Apply(self, [matrices], [matrices.type()])

    def infer_shape(self, *arguments: Any) -> list[Any]:
        """Return the shape of the output."""
        return [arguments[-1][0]]

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Invert."""
        output_storage[0][0] = lower_inverses(np.ascontiguousarray(inputs[0]))

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Return the gradient in the lower triangles."""
        return [_lower_inverse_gradient(outputs[0], cotangents[0])]  # pyright: ignore[reportReturnType]


class LowerInverseGradient(Op):
    """Gradient of `LowerInverse`, given the inverses and the direction."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Build the node."""
        inverses, along = (pt.as_tensor(v, dtype="float64") for v in inputs)
        return Apply(self, [inverses, along], [inverses.type()])

    def infer_shape(self, *arguments: Any) -> list[Any]:
        """Return the shape of the output."""
        return [arguments[-1][0]]

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Multiply out."""
        output_storage[0][0] = lower_inverses_gradient(*(np.ascontiguousarray(v) for v in inputs))


_lower_inverse_gradient = LowerInverseGradient()


@register_funcify_default_op_cache_key(LowerInverse)
def _lower_inverse_in_numba(*_: Any, **__: Any) -> tuple[Any, int]:
    @numba_njit
    def lower_inverse(matrices):
        return lower_inverses(np.ascontiguousarray(matrices))

    return lower_inverse, KERNELS


@register_funcify_default_op_cache_key(LowerInverseGradient)
def _lower_inverse_gradient_in_numba(*_: Any, **__: Any) -> tuple[Any, int]:
    @numba_njit
    def lower_inverse_gradient(inverses, along):
        return lower_inverses_gradient(np.ascontiguousarray(inverses), np.ascontiguousarray(along))

    return lower_inverse_gradient, KERNELS


class WhitenedLogPosterior(Op):
    """The whole log posterior over the whitened unconstrained vector, with its gradient."""

    __props__ = ()

    def __init__(self, whitening: Whitening) -> None:
        self.whitening = whitening

    def make_node(self, *inputs: Any) -> Apply:
        """Build the node."""
        (eta,) = (pt.as_tensor(v, dtype="float64") for v in inputs)
        return Apply(self, [eta], [pt.dscalar(), eta.type()])

    def infer_shape(self, *arguments: Any) -> list[Any]:
        """Return the shapes of the outputs."""
        return [(), arguments[-1][0]]

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Evaluate value and gradient."""
        value, gradient = self.whitening.value_and_gradient(inputs[0])
        output_storage[0][0], output_storage[1][0] = np.asarray(value), gradient

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Return the gradient, which the value came with."""
        if not isinstance(cotangents[1].type, DisconnectedType):
            raise NotImplementedError("the log posterior has a gradient, but no second derivative")
        return [cotangents[0] * outputs[1]]  # pyright: ignore


# No key: the function holds its data, so that none compiled for other data may stand in for it.
@register_funcify_and_cache_key(WhitenedLogPosterior)
def _whitened_log_posterior_in_numba(op: WhitenedLogPosterior, **_: Any) -> tuple[Any, None]:
    centre, spread, arguments = op.whitening.centre, op.whitening.spread.matrix, op.whitening.posterior.arguments
    (
        x, weight, origin, inverse_unit, kind, concentration, loc, shrinkage, loc_factor, root, dof, deviation, lkj,
        scale_dof, scale_rate, floor,
    ) = arguments  # fmt: skip

    @numba_njit
    def log_posterior(eta):
        value, gradient = whitened_log_posterior(
            np.ascontiguousarray(eta),
            centre,
            spread,
            (
                x, weight, origin, inverse_unit, kind, concentration, loc, shrinkage, loc_factor, root, dof, deviation,
                lkj, scale_dof, scale_rate, floor,
            ),
        )  # fmt: skip
        return np.asarray(value), gradient

    return log_posterior, None


def build_compact_model(whitening: Whitening) -> pm.Model:
    """Return the compact form as a PyMC model: ``eta``, about standard normal, and one potential."""
    with pm.Model() as model:
        eta = pm.Flat("eta", shape=whitening.centre.size)
        pm.Potential("log_posterior", WhitenedLogPosterior(whitening)(eta)[0])  # pyright: ignore
    return model


def build_pymc_model(data: Any, model: Any, *, start: MixtureParameters | None = None) -> pm.Model:
    """Return the mixture as a PyMC model that can be read, drawn, edited and sampled.

    Parameters
    ----------
    data : array (n,) or (n, d), DataFrame, xarray object or Observations
        It enters through ``pm.Data("x")`` and ``pm.Data("sample_weight")``.
    model : int or MixtureModel
        With a proper prior.
    start : MixtureParameters, optional
        For example ``fit(..., engine="em").parameters``; in data units.

    Returns
    -------
    pymc.Model
        Random variables and deterministics ``weights``, ``means``, ``covariances`` with dims
        ``component``, ``feature`` and ``feature_bis``; the likelihood ``observations``. Its attribute
        ``initvals`` holds the start as a dict for ``pm.sample(initvals=...)``, empty if there is none.

    Raises
    ------
    DataError, ModelError
        If data or model do not fit, or the prior is flat.

    Notes
    -----
    Under the default prior the scale of the covariances is a variable, ``scale``, and the potential ``floor`` holds how
    the floor depends on it. PyMC warns of potentials when it draws predictive rows: those of a posterior are right.

    Sample from a start with ``compile_kwargs={"jitter_rvs": set()}`` (nutpie) or ``init="adapt_diag"``
    (PyMC's sampler): by default both add a jitter that throws chains out of the mode. To fit many tables, compile
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
    built = _build(seen, prior)
    built.initvals = {} if start is None else initial_values(prior, start)  # pyright: ignore
    return built


def build_standardised_model(data: Observations, prior: Prior) -> pm.Model:
    """Return the transparent model in the coordinates in which ``data`` is seen, as the NUTS engine samples it."""
    return _build(replace(data, values=(data.values - data.origin) / data.unit), prior)


def _build(data: Observations, prior: Prior) -> pm.Model:
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    pairs = [f"{data.features[i]}:{data.features[j]}" for i, j in zip(*np.tril_indices(d, -1), strict=True)]
    coords = {
        "component": np.arange(k),
        "feature": list(data.features),
        "feature_bis": list(data.features),
        "feature_pair": pairs,
        "observation": data.index,
    }
    with pm.Model(coords=coords) as model:
        x = pm.Data("x", data.values, dims=("observation", "feature"))
        sample_weight = pm.Data("sample_weight", np.array(data.sample_weight), dims="observation")
        weights = pm.Dirichlet("weights", a=prior.concentration, dims="component")
        factors = _separation_factors(prior) if isinstance(prior, SeparationPrior) else _bartlett_factors(prior)
        roots = _inverse(factors)
        # Sums of products here and below: PyTensor compiles batched matrix products for tens of seconds.
        covariances = (roots[:, :, :, None] * roots[:, :, None, :]).sum(axis=1)
        pm.Deterministic("covariances", covariances, dims=("component", "feature", "feature_bis"))
        means = _means(prior, roots)
        density = MixtureLogDensity(cov.is_diagonal(kind))

        def log_density(rows: Any, w: Any, m: Any, f: Any) -> Any:
            # PyMC gives the parameters a leading axis of length one for the rows.
            inputs = (w.reshape((k,)), m.reshape((k, d)), f.reshape((k, d, d)))
            return density(*inputs, rows, sample_weight)[0]  # pyright: ignore

        pm.CustomDist(
            "observations",
            weights,
            means,
            factors,
            logp=log_density,
            random=_random_rows,
            signature="(k),(k,d),(k,d,d)->(d)",
            observed=x,
            dims=("observation", "feature"),
        )
    return model


def _bartlett_factors(prior: ConjugatePrior | HierarchicalPrior | SemiConjugatePrior) -> Any:
    """Return precision factors (k, d, d): ``root A``, the squares of A's diagonal chi-squared, the rest normal."""
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    root = _root_of_unknown_scale(prior) if isinstance(prior, HierarchicalPrior) else Coordinates.of(prior, d).root
    dof = cov.per_block(prior.dof, kind, d)[:, None] - np.arange(cov.block_size(kind, d))
    dims = {"full": ("component", "feature"), "tied": ("feature",), "diag": ("component", "feature")}.get(kind)
    shape = (k, d) if kind == "diag" else dof.shape if kind == "full" else (dof.size,)
    chi: Any = pm.ChiSquared("precision_chi", nu=dof.reshape(shape), dims=dims or ("component",))
    lower: Any = None
    if dof.shape[1] > 1:
        pair_dims = ("feature_pair",) if kind == "tied" else ("component", "feature_pair")
        lower = pm.Normal("precision_lower", 0, 1, dims=pair_dims)
    a = _bartlett(chi.reshape(dof.shape), lower)
    return _per_component((root[:, :, :, None] * a[:, None]).sum(axis=2), kind, k, d)


def _bartlett(chi: Any, lower: Any) -> Any:
    """Return lower triangular matrices (b, p, p), from squares (b, p) of their diagonals and what is below."""
    blocks, p = chi.type.shape
    diagonal, (rows, columns) = np.arange(p), np.tril_indices(p, -1)
    a: Any = pt.zeros((blocks, p, p))
    a = a[:, diagonal, diagonal].set(chi**0.5)
    return a if lower is None else a[:, rows, columns].set(lower.reshape((blocks, len(rows))))


def _root_of_unknown_scale(prior: HierarchicalPrior) -> Any:
    """Return precision roots (b, p, p) at the random variable ``scale``, to which the floor is added.

    The covariances are drawn given scale and floor; the floor as a factor of their density (`HierarchicalPrior`) has
    another constant, which depends on the scale: the potential ``floor``.
    """
    kind, (k, d), floor = prior.covariance_type, prior.loc.shape, np.diag(prior.known_scale[0])
    half = cov.per_block(prior.dof, kind, 1).sum() / 2
    if cov.is_diagonal(kind):
        rate = np.diag(prior.scale_rate)
        rate, floor, dims = (rate, floor, ("feature",)) if kind == "diag" else (rate[0], floor[0], None)
        scale: Any = pm.Gamma("scale", alpha=prior.scale_dof / 2, beta=rate / 2, dims=dims)
        share: Any = pt.log(scale / (scale + floor))
        pm.Potential("floor", half * share.sum())
        of_component = (scale + floor).reshape((1, -1)) * np.ones((k, 1))
        return (of_component**-0.5).reshape((-1, 1, 1))
    chi: Any = pm.ChiSquared("scale_chi", nu=prior.scale_dof - np.arange(d), dims="feature")
    lower = pm.Normal("scale_lower", 0, 1, dims="feature_pair") if d > 1 else None
    root = np.linalg.cholesky(np.linalg.inv(prior.scale_rate))
    own = (root[:, :, None] * _bartlett(chi.reshape((1, d)), lower)).sum(axis=1)
    scale = (own[:, None] * own[None]).sum(axis=2)
    pm.Deterministic("scale", scale, dims=("feature", "feature_bis"))
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


def _separation_factors(prior: SeparationPrior) -> Any:
    """Return precision factors (k, d, d) from half-normal deviations and LKJ correlations."""
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    if cov.is_diagonal(kind):
        width = prior.deviation if kind == "diag" else prior.deviation[:, 0]
        dims = ("component", "feature") if kind == "diag" else ("component",)
        deviation = pm.HalfNormal("deviation", width, dims=dims)
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


def _means(prior: Prior, roots: Any) -> Any:
    """Return the means (k, d), given the inverses of the precision factors."""
    dims = ("component", "feature")
    if isinstance(prior, ConjugatePrior):
        offset: Any = pm.Normal("means_offset", 0, 1, dims=dims)
        shift = (roots * offset[:, :, None]).sum(axis=1) / np.sqrt(prior.shrinkage)[:, None]
        return pm.Deterministic("means", prior.loc + shift, dims=dims)
    return pm.MvNormal("means", mu=prior.loc, chol=np.linalg.cholesky(prior.loc_covariance), dims=dims)


def _random_rows(weights: Any, means: Any, factors: Any, rng: Any = None, size: Any = None) -> np.ndarray:
    """Draw rows: a component each, then a normal vector about its mean; PyMC may add leading axes."""
    shape = weights.shape[:-1] if size is None else tuple(size)
    labels = (rng.random(shape)[..., None] > np.cumsum(weights, axis=-1)[..., :-1]).sum(axis=-1)
    noise = rng.standard_normal((*shape, means.shape[-1]))
    k, d = means.shape[-2:]
    roots = np.broadcast_to(np.linalg.inv(factors), (*shape, k, d, d))
    own = np.take_along_axis(roots, labels[..., None, None, None], axis=-3)[..., 0, :, :]
    centre = np.take_along_axis(np.broadcast_to(means, (*shape, k, d)), labels[..., None, None], axis=-2)[..., 0, :]
    return centre + np.einsum("...ji,...j->...i", own, noise)


def initial_values(prior: Prior, start: MixtureParameters) -> dict[str, np.ndarray]:
    """Return a value for every random variable of the transparent model, from parameters in data units."""
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    if isinstance(prior, HierarchicalPrior):
        scale = prior.expected_scale_given(start)
        return initial_values(prior.given(scale), start) | _scale_values(prior, scale)
    coordinates = Coordinates.of(prior, d)
    _, diagonals, lower, _ = coordinates.bounds
    theta = coordinates.pack(start)
    lifted = np.maximum(start.weights, SMALLEST_WEIGHT)
    values = {"weights": lifted / lifted.sum()}
    factor, _ = factorised(start.covariances)
    if isinstance(prior, ConjugatePrior):
        offset = np.einsum("kji,kj->ki", factor, start.means - prior.loc)
        values["means_offset"] = offset * np.sqrt(prior.shrinkage)[:, None]
    else:
        values["means"] = start.means
    if isinstance(prior, SeparationPrior):
        return values | _separation_values(prior, start)
    shape = {"full": (k, d), "tied": (d,), "diag": (k, d), "spherical": (k,)}[kind]
    values["precision_chi"] = np.exp(2 * theta[diagonals:lower]).reshape(shape)
    if coordinates.root.shape[-1] > 1:
        values["precision_lower"] = theta[lower:].reshape((-1,) if kind == "tied" else (k, -1))
    return values


def _scale_values(prior: HierarchicalPrior, scale: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values of the random variables that make a scale."""
    if cov.is_diagonal(prior.covariance_type):
        return {"scale": np.diag(scale) if prior.covariance_type == "diag" else scale[0, 0]}
    own = np.linalg.solve(np.linalg.cholesky(np.linalg.inv(prior.scale_rate)), np.linalg.cholesky(scale))
    values = {"scale_chi": np.diag(own) ** 2}
    return values | ({"scale_lower": own[np.tril_indices(len(own), -1)]} if len(own) > 1 else {})


def _separation_values(prior: SeparationPrior, start: MixtureParameters) -> dict[str, np.ndarray]:
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    if cov.is_diagonal(kind):
        deviation = np.sqrt(np.diagonal(start.covariances, axis1=-2, axis2=-1))
        return {"deviation": deviation if kind == "diag" else deviation[:, 0]}
    cholesky = np.linalg.cholesky(start.covariances[:, ::-1, ::-1])
    count = 1 if kind == "tied" else k
    return {f"cholesky_reversed_{c}": cholesky[c][np.tril_indices(d)] for c in range(count)}


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
