"""Every exception and warning of the package.

Each derives from `BayesGMMError` or `BayesGMMWarning`, and each error for bad input also
from `ValueError`, so that code which knows nothing of this package can catch it.
"""


class BayesGMMError(Exception):
    """Root of all errors raised on purpose by bayesgmm."""


class DataError(BayesGMMError, ValueError):
    """The data, or its row weights, cannot be used as they are."""


class ModelError(BayesGMMError, ValueError):
    """The model, prior, engine setting, start or another argument does not fit."""


class LoadError(BayesGMMError, ValueError):
    """A file is not a result written by bayesgmm, or is damaged."""


class SourceError(BayesGMMError, RuntimeError):
    """Rows could not be read where they are kept: a worker is lost for good, or a file has changed."""


class DegenerateComponentError(BayesGMMError, ValueError):
    """Every start ended in a component without width, where the likelihood has no bound."""


class BayesGMMWarning(UserWarning):
    """Root of all warnings given by bayesgmm."""


class ConvergenceWarning(BayesGMMWarning):
    """An algorithm stopped before its answer can be trusted."""


class LabelSwitchingWarning(BayesGMMWarning):
    """Component labels changed between draws, or cannot be told apart."""


class EmptyComponentWarning(BayesGMMWarning):
    """In many draws some component has no row: fewer components may do."""


class DoubtfulGroupsWarning(BayesGMMWarning):
    """The groups rest on too few rows, lie on each other, or follow how a column was written."""


class DataWarning(BayesGMMWarning):
    """Something of a table was left out, set aside as names of the rows, converted or recognised."""


class CacheWarning(BayesGMMWarning):
    """Compiled loops cannot be kept on disk: every process compiles them anew."""


#: Warnings by name, as results keep them.
WARNINGS = {
    kind.__name__: kind
    for kind in (ConvergenceWarning, DoubtfulGroupsWarning, EmptyComponentWarning, LabelSwitchingWarning)
}
