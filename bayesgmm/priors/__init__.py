"""Priors of the mixture's parameters: densities that statistics update."""

from dataclasses import fields
from typing import Any

import numpy as np

from bayesgmm.parameters import COVARIANCE_TYPES
from bayesgmm.priors.conjugate import ConjugatePrior
from bayesgmm.priors.semiconjugate import SemiConjugatePosterior, SemiConjugatePrior
from bayesgmm.priors.separation import SeparationPrior

Prior = ConjugatePrior | SemiConjugatePrior | SeparationPrior


def is_exchangeable(prior: Prior) -> bool:
    """Return whether permuting components changes nothing: whether labels are free to switch."""
    values = (np.asarray(getattr(prior, field.name)) for field in fields(prior))
    return all((value == value[:1]).all() for value in values if value.ndim > 0)


def as_arrays(prior: ConjugatePrior | SemiConjugatePrior) -> tuple[Any, ...]:
    """Return the hyperparameters as compiled updates and draws read them."""
    none, is_conjugate = np.empty((0, 0, 0)), isinstance(prior, ConjugatePrior)
    shrinkage = prior.shrinkage if isinstance(prior, ConjugatePrior) else np.empty(0)
    spread = none if isinstance(prior, ConjugatePrior) else prior.loc_covariance
    kind = COVARIANCE_TYPES.index(prior.covariance_type)
    given = (prior.concentration, prior.loc, shrinkage, spread, prior.dof, prior.scale)
    return kind, is_conjugate, *(np.ascontiguousarray(values) for values in given)


__all__ = [
    "ConjugatePrior",
    "Prior",
    "SemiConjugatePosterior",
    "SemiConjugatePrior",
    "SeparationPrior",
    "as_arrays",
    "is_exchangeable",
]
