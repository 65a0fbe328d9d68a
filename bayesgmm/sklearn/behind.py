"""What both estimators are: a `MixtureResult` behind scikit-learn's methods."""

from __future__ import annotations

import hashlib
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bayesgmm.data import Observations, Reading
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.results.result import MixtureResult


class ResultBehind(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Methods that ask the `MixtureResult` in ``result_``; memberships are also a transformation of the rows."""

    result_: MixtureResult
    covariance_type: str

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Rows.
        y : ignored
            For scikit-learn's interface.
        sample_weight : array-like (n_samples,), optional
            Frequency weights: weight 3 equals the row three times.
        """
        self.fit_predict(X, y, sample_weight=sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit the mixture and return the most probable component of each row."""
        raise NotImplementedError

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the memberships (n_samples, n_components)."""
        rows = self._seen(X)
        return self.result_.predict_proba(rows)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable component of each row."""
        return self.predict_proba(X).argmax(axis=1)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log density of each row."""
        rows = self._seen(X)
        return self.result_.log_density(rows)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log density of the rows, each counted as often as its weight says.

        Rows that were fitted with weights have these, if no others are given.
        """
        del y
        log_density, weight = self._weighed(X, sample_weight)
        return float(log_density @ weight / weight.sum())

    def transform(self, X: Any) -> np.ndarray:
        """Return the memberships, as features for the next step of a pipeline."""
        return self.predict_proba(X)

    def _weighed(self, X: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the log density of each row, and its weight: as given, or as in the fit of these rows, else 1."""
        rows = self._seen(X)
        if sample_weight is None and self._weight_at_fit:
            sample_weight = self._weight_at_fit.get(_digest(rows))
        weight = np.asarray(_check_sample_weight(sample_weight, rows, ensure_non_negative=True))
        if not weight.sum() > 0:
            raise ValueError("sample_weight has to be above 0 for one row at least")
        # A row of weight 0 may have no density, and counts for nothing all the same.
        return np.where(weight > 0, self.result_.log_density(rows), 0.0), weight

    def _checked(self, X: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
        """Check rows to fit and their weights, all 1 where there are none; remember which weights these rows had."""
        self._validate_params()  # pyright: ignore[reportAttributeAccessIssue]
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)  # pyright: ignore[reportArgumentType]
        weight = np.asarray(_check_sample_weight(sample_weight, rows, ensure_non_negative=True))
        self._weight_at_fit = {} if sample_weight is None else {_digest(np.asarray(rows)): weight.copy()}
        return np.asarray(rows), weight

    def _named(self, rows: np.ndarray) -> Any:
        """Return the rows as a data frame if the columns have names."""
        named = getattr(self, "feature_names_in_", None)
        return rows if named is None else pd.DataFrame(rows, columns=named)

    def _rows(self, rows: np.ndarray, weight: np.ndarray | None = None) -> Observations:
        """Return all columns as features, whatever they are called: scikit-learn leaves none out."""
        named = getattr(self, "feature_names_in_", None)
        reading = Reading(columns=None if named is None else list(named))
        return Observations.of(self._named(rows), weight, reading)

    def _seen(self, X: Any) -> np.ndarray:
        """Check new rows against the fitted ones."""
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))  # pyright: ignore[reportArgumentType]

    @property
    def _n_features_out(self) -> int:
        return self.result_.model.n_components

    def _take(self, result: MixtureResult, parameters: MixtureParameters) -> None:
        """Set the fitted attributes."""
        self.result_ = result
        covariances = parameters.covariances
        if self.covariance_type == "tied":
            covariances = covariances[0]
        elif self.covariance_type in ("diag", "spherical"):
            covariances = np.diagonal(covariances, axis1=1, axis2=2)
            covariances = covariances[:, 0] if self.covariance_type == "spherical" else covariances
        # Arrays of their own: those of the result must not change with them.
        self.weights_, self.means_ = parameters.weights.copy(), parameters.means.copy()
        self.covariances_ = np.array(covariances)
        if self.covariance_type in ("diag", "spherical"):
            self.precisions_cholesky_ = 1 / np.sqrt(self.covariances_)
            self.precisions_ = self.precisions_cholesky_**2
        else:
            roots = np.linalg.inv(np.linalg.cholesky(self.covariances_))
            self.precisions_cholesky_ = np.swapaxes(roots, -1, -2)
            self.precisions_ = self.precisions_cholesky_ @ roots


def _digest(rows: np.ndarray) -> str:
    """Return what tells rows from others."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
