"""Bayesian Gaussian mixtures: soft memberships, and how sure they are."""

from typing import TYPE_CHECKING, Any

from bayesgmm import datasets
from bayesgmm.calibration import Calibration, calibrate
from bayesgmm.compare import Comparison, compare
from bayesgmm.data import Observations, Source, StoredObservations
from bayesgmm.em import EM
from bayesgmm.errors import (
    BayesGMMError,
    BayesGMMWarning,
    CacheWarning,
    ConvergenceWarning,
    DataError,
    DataWarning,
    DegenerateComponentError,
    DoubtfulGroupsWarning,
    EmptyComponentWarning,
    LabelSwitchingWarning,
    LoadError,
    ModelError,
    SourceError,
)
from bayesgmm.estep import e_step
from bayesgmm.fitting import fit, load
from bayesgmm.gibbs import Gibbs
from bayesgmm.model import MixtureModel
from bayesgmm.nuts import NUTS
from bayesgmm.parameters import Draws, MixtureParameters, Optima
from bayesgmm.priors import ConjugatePrior, HierarchicalPrior, SemiConjugatePrior, SeparationPrior
from bayesgmm.result import MixtureResult
from bayesgmm.simulation import simulate
from bayesgmm.suffstats import Expectation, SufficientStatistics

if TYPE_CHECKING:
    from bayesgmm import plots
    from bayesgmm.pymc_model import build_pymc_model
    from bayesgmm.reports import report

__version__ = "0.1.0"

__all__ = [
    "EM",
    "NUTS",
    "BayesGMMError",
    "BayesGMMWarning",
    "CacheWarning",
    "Calibration",
    "Comparison",
    "ConjugatePrior",
    "ConvergenceWarning",
    "DataError",
    "DataWarning",
    "DegenerateComponentError",
    "DoubtfulGroupsWarning",
    "Draws",
    "EmptyComponentWarning",
    "Expectation",
    "Gibbs",
    "HierarchicalPrior",
    "LabelSwitchingWarning",
    "LoadError",
    "MixtureModel",
    "MixtureParameters",
    "MixtureResult",
    "ModelError",
    "Observations",
    "Optima",
    "SemiConjugatePrior",
    "SeparationPrior",
    "Source",
    "SourceError",
    "StoredObservations",
    "SufficientStatistics",
    "build_pymc_model",
    "calibrate",
    "compare",
    "datasets",
    "e_step",
    "fit",
    "load",
    "plots",
    "report",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Import PyMC, Plotly and Matplotlib only when they are asked for."""
    if name == "build_pymc_model":
        from bayesgmm.pymc_model import build_pymc_model

        return build_pymc_model
    if name == "report":
        from bayesgmm.reports import report

        return report
    if name == "plots":
        import bayesgmm.plots

        return bayesgmm.plots
    if name == "sklearn":
        import bayesgmm.sklearn

        return bayesgmm.sklearn
    raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is imported when it is asked for, too."""
    return sorted({*globals(), *__all__, "sklearn"})
