"""Priors of the mixture's parameters: densities that statistics update."""

from bayesgmm.priors.conjugate import ConjugatePrior
from bayesgmm.priors.semiconjugate import SemiConjugatePosterior, SemiConjugatePrior
from bayesgmm.priors.separation import SeparationPrior

Prior = ConjugatePrior | SemiConjugatePrior | SeparationPrior

__all__ = ["ConjugatePrior", "Prior", "SemiConjugatePosterior", "SemiConjugatePrior", "SeparationPrior"]
