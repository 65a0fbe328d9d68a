"""Priors of the mixture's parameters: densities that statistics update."""

from dataclasses import fields

import numpy as np

from bayesgmm.model.priors.compiled import as_arrays, mean_factors
from bayesgmm.model.priors.conjugate import ConjugatePrior
from bayesgmm.model.priors.hierarchical import HierarchicalPosterior, HierarchicalPrior
from bayesgmm.model.priors.semiconjugate import SemiConjugatePosterior, SemiConjugatePrior
from bayesgmm.model.priors.separation import SeparationPrior

Prior = ConjugatePrior | HierarchicalPrior | SemiConjugatePrior | SeparationPrior


def is_exchangeable(prior: Prior) -> bool:
    """Return whether permuting components changes nothing: whether labels are free to switch."""
    names = (field.name for field in fields(prior) if field.name not in HierarchicalPrior.OF_ALL_COMPONENTS)
    values = (np.asarray(getattr(prior, name)) for name in names)
    return all((value == value[:1]).all() for value in values if value.ndim > 0)


__all__ = [
    "ConjugatePrior",
    "HierarchicalPosterior",
    "HierarchicalPrior",
    "Prior",
    "SemiConjugatePosterior",
    "SemiConjugatePrior",
    "SeparationPrior",
    "as_arrays",
    "is_exchangeable",
    "mean_factors",
]
