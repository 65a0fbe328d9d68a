"""Where chains of Gibbs sweeps stand, as a checkpoint keeps it: gone on from only if it can be of these chains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.engines.archive import Expected
from bayesgmm.engines.checkpoint import Checkpoint
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.model.given import are_mixtures
from bayesgmm.model.parameters import MixtureParameters

if TYPE_CHECKING:
    from bayesgmm.engines.gibbs.gibbs import Chain, Kept, Problem, Stretch

#: Rows times columns times components of which saved draws are computed again: a second.
MOST_COMPUTED_AGAIN = 200_000_000
#: Name of the section.
SECTION = "sweeps"


def save(saved: Checkpoint, chains: list[Chain], kept: Kept, stretch: Stretch, problem: Problem, sweeps: int) -> None:
    """Keep where every chain stands, and all draws so far."""
    done = stretch.first + stretch.sweeps
    if not (saved.is_due or done == sweeps):
        return
    drawn = kept.cut(stretch.draws.stop)
    arrays: dict[str, Any] = {"done": done, **{f"kept{i}": array for i, array in enumerate(drawn.arrays)}}
    for at, chain in enumerate(chains):
        arrays[f"rng{at}"] = _words(chain.rng)
        arrays[f"log_prior{at}"] = problem.prior.log_density(MixtureParameters(*chain.state))
        arrays |= {f"state{at}_{i}": array for i, array in enumerate(chain.state)}
    saved.put(SECTION, arrays)


def resumed(saved: Checkpoint, chains: list[Chain], kept: Kept, stretches: list[Stretch], problem: Problem) -> int:
    """Put every chain where it was saved, with its draws; return the number of sweeps that are done.

    Raises
    ------
    LoadError
        If what was saved are no sweeps of these chains.
    """
    arrays = saved.checked(SECTION, _expected(chains, kept))
    if arrays is None:
        return 0
    done = int(arrays["done"])
    draws = next((stretch.draws.stop for stretch in stretches if stretch.first + stretch.sweeps == done), None)
    if draws is None:
        saved.refuse(SECTION, f"{done} sweeps are done, after which nothing is kept")
    found = kept.cut(draws)
    wrong = _wrong_chain(arrays, chains, problem) or _wrong_draws(arrays, found, problem)
    if wrong:
        saved.refuse(SECTION, wrong)
    for i, room in enumerate(found.arrays):
        room[:] = arrays[f"kept{i}"]
    for at, chain in enumerate(chains):
        _set(chain.rng, arrays[f"rng{at}"])
        for i, room in enumerate(chain.state):
            room[:] = arrays[f"state{at}_{i}"]
    return done


def _words(rng: np.random.Generator) -> np.ndarray:
    """Return the state of a generator as six numbers."""
    state: Any = rng.bit_generator.state
    halves = [half for name in ("state", "inc") for half in divmod(state["state"][name], 2**64)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def _set(rng: np.random.Generator, words: np.ndarray) -> None:
    """Put a generator in the state that six numbers tell."""
    high, low, _, _, has, word = map(int, words)
    own: Any = rng.bit_generator.state
    place = own["state"] | {"state": (high << 64) + low}
    rng.bit_generator.state = own | {"state": place, "has_uint32": has, "uinteger": word}


def _expected(chains: list[Chain], kept: Kept) -> dict[str, Expected]:
    """Return what the arrays of these chains are."""
    expected, k = {"done": Expected(("i8",), (), 1)}, kept.parameters.n_components
    bounds = [{}, {}, {}, {}, {"low": 1, "high": k}, {"low": 0, "high": k - 1}]
    for i, array in enumerate(kept.arrays):
        shape = (array.shape[0], None, *array.shape[2:])
        expected[f"kept{i}"] = Expected((array.dtype.str,), shape, **bounds[i])
    for at, chain in enumerate(chains):
        expected |= {f"rng{at}": Expected(("u8",), (6,), None), f"log_prior{at}": Expected(("f8",), ())}
        expected |= {f"state{at}_{i}": Expected(("f8",), array.shape) for i, array in enumerate(chain.state)}
    return expected


def _wrong_chain(arrays: dict[str, np.ndarray], chains: list[Chain], problem: Problem) -> str:
    """Return what is wrong with where chains stand; empty if nothing is."""
    for at, chain in enumerate(chains):
        words, own = arrays[f"rng{at}"], _words(chain.rng)
        if (words[2:4] != own[2:4]).any() or words[4] > 1 or words[5] >= 2**32:
            return f"the random numbers of chain {at} are of another seed"
        state = MixtureParameters(*(arrays[f"state{at}_{i}"] for i in range(3)))
        if not are_mixtures(state, problem.prior.covariance_type):
            return f"chain {at} stands at no mixture"
        if not np.isclose(problem.prior.log_density(state), arrays[f"log_prior{at}"], rtol=1e-9, atol=1e-9):
            return f"chain {at} stands where the prior density is another"
    return ""


def _wrong_draws(arrays: dict[str, np.ndarray], found: Kept, problem: Problem) -> str:
    """Return what is wrong with draws for which there is this room; empty if nothing is."""
    number = found.log_likelihood.shape[1]
    if any(arrays[f"kept{i}"].shape != room.shape for i, room in enumerate(found.arrays)):
        return f"it has not {number} draws of each chain"
    if number == 0:
        return ""
    draws, log_likelihood, occupied = (
        MixtureParameters(*(arrays[f"kept{i}"] for i in range(3))),
        *(arrays[f"kept{i}"] for i in (3, 4)),
    )
    if not are_mixtures(draws, problem.prior.covariance_type) or (occupied != np.round(occupied)).any():
        return "draws are no mixtures"
    return "" if _are_likely(draws, log_likelihood, problem) else "draws have another log-likelihood"


def _are_likely(draws: MixtureParameters, log_likelihood: np.ndarray, problem: Problem) -> bool:
    """Return whether draws, evenly spaced if they are too many for all, have the log-likelihood that was saved."""
    data, (chains, number) = problem.data, draws.grid
    affordable = MOST_COMPUTED_AGAIN // (chains * draws.n_components * len(data) * data.n_features)
    at = np.unique(np.linspace(0, number - 1, max(2, min(number, affordable)), dtype=int))
    again = estep.e_step(draws[:, at], data, problem.prior.covariance_type).log_likelihood
    return np.allclose(again, log_likelihood[:, at], rtol=1e-9, atol=1e-9 * data.total_weight)
