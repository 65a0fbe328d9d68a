"""Operations of PyTensor over the compiled loops: the mixture's log density, inverses, the whole posterior."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
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

from bayesgmm.kernels.elementary import DIGEST, compiled_exactly
from bayesgmm.kernels.factors import lower_inverses, lower_inverses_gradient
from bayesgmm.kernels.likelihood import likelihood
from bayesgmm.kernels.posterior import whitened_log_posterior
from bayesgmm.posterior.compact import Whitening

#: A number that changes with the compiled loops, so that PyTensor's own cache of them is not outlived.
KERNELS = int(DIGEST[:8], 16)
#: Of the function below, beside the kernels': a change leads to another key in PyTensor's cache.
CHECKED = 1
UNEQUAL = (
    "x, sample_weight and the parameters do not fit together: give pm.set_data both x (n, d) and sample_weight (n), "
    "of as many rows, and x of as many features as before"
)

NO_SECOND = (
    "the mixture's log density has a gradient, but no second derivative in PyTensor; use jax.hessian of the model "
    "compiled to JAX, or fit(..., engine=EM(uncertainty='laplace')) for the observed information"
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
            raise NotImplementedError(NO_SECOND)
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
            raise NotImplementedError(NO_SECOND)
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


if find_spec("jax"):
    from pytensor.link.jax.dispatch.basic import jax_funcify

    from bayesgmm.posterior import jax_forms

    for _operation, _form in (
        (MixtureLogDensity, jax_forms.mixture_log_density),
        (LowerInverse, jax_forms.lower_inverse),
        (LowerInverseGradient, jax_forms.lower_inverse_gradient),
    ):
        jax_funcify.register(_operation, lambda *_, _form=_form, **__: _form)  # pyright: ignore
