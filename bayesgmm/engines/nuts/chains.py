"""Finished chains of NUTS, as a checkpoint keeps them: taken only if they can be draws of this model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesgmm.data import Rows
from bayesgmm.engines.archive import Expected
from bayesgmm.engines.checkpoint import Checkpoint
from bayesgmm.model.given import are_mixtures
from bayesgmm.model.parameters import PARAMETER_DIMS, MixtureParameters
from bayesgmm.model.priors import Prior

#: What samplers say of each draw.
SAID = {
    "diverging": Expected(("b1",), ()),
    "energy": Expected(("f8",), ()),
    "n_steps": Expected(("i8", "u8", "f8"), (), 0, 2**32),
    "tree_depth": Expected(("i8", "u8"), (), 0, 64),
    "step_size": Expected(("f8",), (), 0),
    "acceptance_rate": Expected(("f8",), (), 0, 1 + 1e-9),
}
#: What is kept beside, by which it is told that draws are those that were made.
LOG_PRIOR = Expected(("f8",), ())


def judged(draws: MixtureParameters, prior: Prior) -> dict[str, np.ndarray]:
    """Return the log prior density of draws, by the name under which it is kept with them."""
    return {"log_prior": np.asarray(prior.log_density(draws))}


def is_kept(saved: Checkpoint, section: str, draws: int, data: Rows, prior: Prior) -> bool:
    """Return whether a checkpoint holds a chain of so many draws.

    Raises
    ------
    LoadError
        If what it holds is no chain of this model.
    """
    k, d = len(prior.concentration), data.n_features
    shapes = zip(PARAMETER_DIMS, ((k,), (k, d), (k, d, d)), strict=True)
    expected = {name: Expected(("f8",), (1, draws, *shape)) for name, shape in shapes}
    said = SAID | {"log_prior": LOG_PRIOR}
    kept = saved.checked(section, expected | {name: replace(each, shape=(1, draws)) for name, each in said.items()})
    if kept is None:
        return False
    drawn = MixtureParameters(*(kept[name] for name in PARAMETER_DIMS))
    if not are_mixtures(drawn, prior.covariance_type):
        saved.refuse(section, "draws are no mixtures")
    if not np.allclose(judged(drawn, prior)["log_prior"], kept["log_prior"], rtol=1e-9, atol=1e-9):
        saved.refuse(section, "draws have another prior density")
    return True
