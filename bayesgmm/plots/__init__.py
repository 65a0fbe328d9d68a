"""Figures of a result, by Matplotlib or Plotly, with ArviZ's names for arguments."""

from bayesgmm.plots.animation import animate_em, animate_posterior
from bayesgmm.plots.bivariate import bivariate
from bayesgmm.plots.fits import calibration, comparison, em_trace
from bayesgmm.plots.membership import coclustering, entropy, membership, memberships
from bayesgmm.plots.shape import components, density, pairs

__all__ = [
    "animate_em",
    "animate_posterior",
    "bivariate",
    "calibration",
    "coclustering",
    "comparison",
    "components",
    "density",
    "em_trace",
    "entropy",
    "membership",
    "memberships",
    "pairs",
]
