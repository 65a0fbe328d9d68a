"""The mixture as NumPyro's users write it: labels summed out, under the conjugate prior."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import ConjugatePrior
from benchmarks.contest import Sampled, Task


def sample(task: Task, seed: int) -> Sampled:
    """Sample by NumPyro's NUTS with its default settings, in double precision.

    The run of a chain is compiled once and called for each: `MCMC.run` by itself compiles for every chain anew.
    """
    # Read when JAX is first imported.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    import jax
    import numpyro
    from numpyro.infer import MCMC, NUTS

    numpyro.enable_x64()

    def model(x: Any) -> None:
        mixture(x, task.prior)

    def one_chain(key: Any, start: Any, x: Any) -> Any:
        chain = MCMC(NUTS(model), num_warmup=task.tune, num_samples=task.draws, progress_bar=False)
        chain.run(key, x, init_params=start)
        return chain.get_samples()

    x, keys = task.values, jax.random.split(jax.random.key(seed), task.chains)
    starts = [unconstrained(model, x, start) for start in task.started(seed)]
    began = time.process_time()
    compiled = jax.jit(one_chain).lower(keys[0], starts[0], x).compile()
    ready = time.process_time()
    chains = [jax.block_until_ready(compiled(key, start, x)) for key, start in zip(keys, starts, strict=True)]
    ended = time.process_time()
    weights, means, roots = (np.stack([chain[name] for chain in chains]) for name in ("weights", "means", "roots"))
    return Sampled(MixtureParameters(weights, means, roots @ np.swapaxes(roots, -1, -2)), ended - ready, ready - began)


def mixture(x: Any, prior: ConjugatePrior) -> None:
    """State the model: `roots` are the lower Cholesky factors of the covariances."""
    import numpyro
    import numpyro.distributions as dist

    k, _ = prior.loc.shape
    weights: Any = numpyro.sample("weights", dist.Dirichlet(prior.concentration))
    with numpyro.plate("components", k):
        wishart = dist.InverseWishartCholesky(prior.dof, scale_tril=np.linalg.cholesky(prior.scale))
        roots: Any = numpyro.sample("roots", wishart)
        spread = roots / np.sqrt(prior.shrinkage)[:, None, None]
        means: Any = numpyro.sample("means", dist.MultivariateNormal(prior.loc, scale_tril=spread))
    components = dist.MultivariateNormal(means, scale_tril=roots)
    with numpyro.plate("rows", len(x)):
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(probs=weights), components), obs=x)


def unconstrained(model: Any, x: np.ndarray, start: MixtureParameters) -> dict[str, np.ndarray]:
    """Return a start as NumPyro takes it."""
    import jax.numpy as jnp
    from numpyro.infer.util import unconstrain_fn

    weights, means, covariances = start.arrays
    values = {"weights": weights, "means": means, "roots": np.linalg.cholesky(covariances)}
    found = unconstrain_fn(model, (x,), {}, {name: jnp.asarray(value) for name, value in values.items()})
    return {name: np.asarray(value) for name, value in found.items()}
