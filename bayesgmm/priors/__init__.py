"""Priors of the mixture's parameters: densities that statistics update."""

from dataclasses import fields

import numpy as np

from bayesgmm.priors.conjugate import ConjugatePrior
from bayesgmm.priors.semiconjugate import SemiConjugatePosterior, SemiConjugatePrior
from bayesgmm.priors.separation import SeparationPrior

Prior = ConjugatePrior | SemiConjugatePrior | SeparationPrior


def is_exchangeable(prior: Prior) -> bool:
    """Return whether permuting components changes nothing: whether labels are free to switch."""
    values = (np.asarray(getattr(prior, field.name)) for field in fields(prior))
    return all((value == value[:1]).all() for value in values if value.ndim > 0)


__all__ = [
    "ConjugatePrior",
    "Prior",
    "SemiConjugatePosterior",
    "SemiConjugatePrior",
    "SeparationPrior",
    "is_exchangeable",
]
