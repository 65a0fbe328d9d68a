"""The model: how many components, which covariances, which prior."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from bayesgmm.arguments import one_of, whole_number
from bayesgmm.data import Rows
from bayesgmm.data.frame import Frame
from bayesgmm.errors import DataError, ModelError
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES, CovarianceType
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, Prior, SemiConjugatePrior, SeparationPrior


@dataclass(frozen=True, slots=True)
class MixtureModel:
    """A Gaussian mixture to be fitted.

    Attributes
    ----------
    n_components : int
        Number of components, k.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Each component its own matrix; one matrix for all; diagonal matrices; multiples of the identity.
    prior : HierarchicalPrior, ConjugatePrior, SemiConjugatePrior, SeparationPrior, "flat" or None
        None is the weakly informative `HierarchicalPrior.from_data`; "flat" is maximum likelihood,
        which only EM takes.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> bg.MixtureModel(3, "tied").n_components
    3
    """

    n_components: int
    covariance_type: CovarianceType = "full"
    prior: Prior | Literal["flat"] | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        k = whole_number(self.n_components, "n_components", 1)
        object.__setattr__(self, "n_components", k)
        one_of(self.covariance_type, "covariance_type", COVARIANCE_TYPES)
        priors = (HierarchicalPrior, ConjugatePrior, SemiConjugatePrior, SeparationPrior)
        is_word = isinstance(self.prior, str) and self.prior == "flat"
        if not (self.prior is None or is_word or isinstance(self.prior, priors)):
            raise ModelError(f"`prior` has to be a prior of bayesgmm, 'flat' or None, got {self.prior!r}")

    @classmethod
    def of(cls, model: Any) -> MixtureModel:
        """Return a model from a model or a number of components."""
        return model if isinstance(model, MixtureModel) else cls(model)

    @property
    def is_flat(self) -> bool:
        """Whether the prior is flat: maximum likelihood."""
        return isinstance(self.prior, str)

    def prior_for(self, data: Rows, frame: Frame | None = None) -> Prior:
        """Return the prior with every number written out for this many features, in data units.

        ``frame`` is that of the data, where it is known.
        """
        k, d = self.n_components, data.n_features
        if self.is_flat:
            return ConjugatePrior.flat(k, d, self.covariance_type)
        if self.prior is None:
            return HierarchicalPrior.within(data, data.frame() if frame is None else frame, k, self.covariance_type)
        return self.prior.bound(k, d, self.covariance_type)  # pyright: ignore[reportAttributeAccessIssue]

    def seen[R: Rows](self, data: R, frame: Frame | None = None) -> R:
        """Return the data in the coordinates in which this model is fitted; ``frame`` is theirs, where it is known.

        Raises
        ------
        DataError
            As `frame_of`.
        """
        frame = self.frame_of(data) if frame is None else frame
        return data.standardised("common" if self.covariance_type == "spherical" else "feature", frame)

    def frame_of(self, data: Rows) -> Frame:
        """Return where the rows lie, if they are enough for this model.

        Raises
        ------
        DataError
            If fewer rows count than there are components, or a column cannot be standardised.
        """
        rows = data.counted_rows
        if rows < self.n_components:
            raise DataError(
                f"`data` has {rows} rows that count, fewer than n_components={self.n_components}; "
                "give more rows or ask for fewer components"
            )
        if self.is_flat and not cov.is_diagonal(self.covariance_type) and rows <= data.n_features:
            raise DataError(
                f"`data` has {rows} rows that count, no more than its {data.n_features} columns, so that every "
                "covariance is singular and the likelihood has no maximum; use the default prior or "
                "covariance_type='diag'"
            )
        return data.frame()

    @property
    def words(self) -> str:
        """The model in a line."""
        prior = "flat prior" if self.is_flat else "default prior" if self.prior is None else type(self.prior).__name__
        return f"{self.n_components} {self.covariance_type} Gaussian components, {prior}"

    def _repr_html_(self) -> str:
        """Return the model for a notebook, with the numbers of a prior that was given."""
        numbers = "" if self.is_flat or self.prior is None else f"<pre>{escape(repr(self.prior))}</pre>"
        return f"<div><p>{escape(self.words)}</p>{numbers}</div>"

    def free_parameters(self, n_features: int) -> int:
        """Return the number of free parameters: weights, means and covariances."""
        k = self.n_components
        return k - 1 + k * n_features + cov.free_parameters(self.covariance_type, k, n_features)
