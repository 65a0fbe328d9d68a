"""Bayesian Gaussian mixtures: soft memberships, and how sure they are."""

from typing import TYPE_CHECKING, Any

from bayesgmm import datasets
from bayesgmm.data import Observations, Source, StoredObservations
from bayesgmm.data.statistics import Expectation, SufficientStatistics
from bayesgmm.engines.em.em import EM
from bayesgmm.engines.gibbs.gibbs import Gibbs
from bayesgmm.engines.nuts.nuts import NUTS
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
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.fitting import fit, load
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import Draws, MixtureParameters, Optima
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, SemiConjugatePrior, SeparationPrior
from bayesgmm.model.simulation import simulate
from bayesgmm.results.result import MixtureResult
from bayesgmm.studies.calibration import Calibration, calibrate
from bayesgmm.studies.compare import Comparison, compare

if TYPE_CHECKING:
    from bayesgmm import plots
    from bayesgmm.posterior.pymc_model import build_pymc_model
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
        from bayesgmm.posterior.pymc_model import build_pymc_model

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
    """Name what is public, what is imported when it is asked for among it, but no rooms."""
    return sorted({*__all__, "sklearn", *(name for name in globals() if name.startswith("__"))})
