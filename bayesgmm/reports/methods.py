"""The methods paragraph of a report: what was done to the data, in words that cite their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.results.result import MixtureResult

#: Works, by the words that cite them.
SOURCES = {
    "Dempster et al., 1977": "Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from "
    "incomplete data via the EM algorithm. Journal of the Royal Statistical Society B 39, 1-38.",
    "Richardson and Green, 1997": "Richardson, S. and Green, P. J. (1997). On Bayesian analysis of mixtures with an "
    "unknown number of components. Journal of the Royal Statistical Society B 59, 731-792.",
    "Vehtari et al., 2024": "Vehtari, A., Simpson, D., Gelman, A., Yao, Y. and Gabry, J. (2024). Pareto smoothed "
    "importance sampling. Journal of Machine Learning Research 25(72), 1-58.",
    "Newton and Raftery, 1994": "Newton, M. A. and Raftery, A. E. (1994). Approximate Bayesian inference with the "
    "weighted likelihood bootstrap. Journal of the Royal Statistical Society B 56, 3-48.",
    "Diebolt and Robert, 1994": "Diebolt, J. and Robert, C. P. (1994). Estimation of finite mixture distributions "
    "through Bayesian sampling. Journal of the Royal Statistical Society B 56, 363-375.",
    "Frühwirth-Schnatter, 2001": "Frühwirth-Schnatter, S. (2001). Markov chain Monte Carlo estimation of classical "
    "and dynamic switching and mixture models. Journal of the American Statistical Association 96, 194-209.",
    "Hoffman and Gelman, 2014": "Hoffman, M. D. and Gelman, A. (2014). The No-U-Turn sampler. Journal of Machine "
    "Learning Research 15, 1593-1623.",
    "Vehtari et al., 2021": "Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Bürkner, P.-C. (2021). "
    "Rank-normalization, folding, and localization: an improved R-hat. Bayesian Analysis 16, 667-718.",
    "Stephens, 2000": "Stephens, M. (2000). Dealing with label switching in mixture models. Journal of the Royal "
    "Statistical Society B 62, 795-809.",
    "Papastamoulis and Iliopoulos, 2010": "Papastamoulis, P. and Iliopoulos, G. (2010). An artificial allocations "
    "based solution to the label switching problem in Bayesian analysis of mixtures of distributions. Journal of "
    "Computational and Graphical Statistics 19, 313-331.",
    "Rodríguez and Walker, 2014": "Rodríguez, C. E. and Walker, S. G. (2014). Label switching in Bayesian mixture "
    "models: deterministic relabeling strategies. Journal of Computational and Graphical Statistics 23, 25-45.",
}
#: What was done to labels, by the word of `MixtureResult.relabelling`.
LABELS = {
    "em": "aligned draw by draw to those of the optimum that most draws are nearest to, so that responsibilities agree "
    "best",
    "stephens": "aligned draw by draw to the mean responsibilities (Stephens, 2000)",
    "ecr": "aligned draw by draw to the allocation of rows at the draw of highest posterior density (Papastamoulis and "
    "Iliopoulos, 2010)",
    "ecr-iterated": "aligned draw by draw to the most frequent allocation of rows (Rodríguez and Walker, 2014)",
    "none": "left as they were sampled",
}
#: How draws about a point estimate were made, by what they are.
APPROXIMATIONS = {
    "Laplace approximation": "by importance sampling from normal distributions at the optima, with smoothed weights "
    "(Vehtari et al., 2024)",
    "weighted-likelihood bootstrap": "by a weighted-likelihood bootstrap (Newton and Raftery, 1994)",
}
SAMPLERS = {
    "Gibbs": "Gibbs sampling (Diebolt and Robert, 1994)",
    "NUTS": "the No-U-Turn sampler (Hoffman and Gelman, 2014)",
    "Elsewhere": "a program of our own",
}
SHAPES = {"full": "unrestricted", "tied": "common", "diag": "diagonal", "spherical": "spherical"}


def paragraph(result: MixtureResult, diagnostics: pd.DataFrame) -> str:
    """Return a paragraph that can go into a paper."""
    return " ".join([_model(result), *_draws(result, diagnostics), *_labels(result)])


def sources(text: str) -> list[str]:
    """Return the works that a paragraph cites."""
    return [work for words, work in SOURCES.items() if words in text]


def _model(result: MixtureResult) -> str:
    """Return what was fitted."""
    model = result.model
    prior = "by maximum likelihood" if model.is_flat else (
        "under a weakly informative hierarchical prior scaled by the data (Richardson and Green, 1997)"
        if model.prior is None
        else f"under a {type(model.prior).__name__}"
    )  # fmt: skip
    return (
        f"We fitted a Gaussian mixture of {model.n_components} components with {SHAPES[model.covariance_type]} "
        f"covariances to {result.n_rows:,} observations of {result.data.n_features} variables {prior}, by EM "
        "(Dempster et al., 1977) from several starts."
    )


def _draws(result: MixtureResult, diagnostics: pd.DataFrame) -> list[str]:
    """Return how draws were made, if any were, and what they are worth."""
    sizes = result.weights.sizes
    if result.is_point:
        return []
    if result.kind != "posterior":
        return [f"Its uncertainty was approximated {APPROXIMATIONS[result.kind]}, with {sizes['draw']:,} draws."]
    permuted = ", components permuted at random after every sweep (Frühwirth-Schnatter, 2001)"
    started = "" if type(result.engine).__name__ == "Elsewhere" else " started at the modes that EM found"
    is_permuted = getattr(result.engine, "permutation", "none") == "random"
    return [
        f"The posterior was sampled by {SAMPLERS[type(result.engine).__name__]}{permuted if is_permuted else ''}, "
        f"{sizes['chain']} chains of {sizes['draw']:,} draws{started}.",
        f"R-hat of label-invariant quantities was at most {diagnostics['r_hat'].max():.3f}, bulk effective sample size "
        f"at least {diagnostics['ess_bulk'].min():,.0f} (Vehtari et al., 2021).",
    ]


def _labels(result: MixtureResult) -> list[str]:
    """Return what was done to labels, and what memberships are."""
    if result.is_point:
        return []
    said = ["Memberships are responsibilities averaged over draws, with equal-tailed 90 % credible intervals."]
    if result.has_free_labels:
        return [f"Component labels were {LABELS[result.relabelling]}.", *said]
    if result.model.n_components > 1:
        return ["The prior tells components apart, so that their labels are its own.", *said]
    return said
