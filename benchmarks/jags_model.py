"""The mixture as JAGS' users write it: with labels, under the conjugate prior."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.expectation.pass_over_rows import responsibilities
from bayesgmm.model.parameters import MixtureParameters
from benchmarks.clock import ONE_THREAD
from benchmarks.contest import Sampled, Task

#: `offset` is the mean less its location, over the prior's spread: JAGS has a conjugate draw of a precision
#: matrix only where no multiple of it is used.
MODEL = """
model {
  weights ~ ddirch(concentration)
  for (j in 1:k) {
    PRECISION
    offset[j, 1:d] ~ NORMAL(zero, precision[j, 1:d, 1:d])
    means[j, 1:d] <- loc[j, 1:d] + offset[j, 1:d] / sqrt(shrinkage[j])
  }
  for (i in 1:n) {
    z[i] ~ dcat(weights)
    x[i, 1:d] ~ NORMAL(means[z[i], 1:d], precision[z[i], 1:d, 1:d])
  }
}
"""
#: What stands for the capitals in several dimensions, and in one, where `1:d` is 1.
MANY = {"PRECISION": "precision[j, 1:d, 1:d] ~ dwish(scale[j, 1:d, 1:d], dof[j])", "NORMAL": "dmnorm"}
ONE = {"PRECISION": "precision[j, 1:d, 1:d] ~ dgamma(dof[j] / 2, scale[j, 1, 1] / 2)", "NORMAL": "dnorm", "1:d": "1"}
MONITORED = ("weights", "means", "precision")


def version() -> str | None:
    """Return the version of the program, or None where there is none."""
    if shutil.which("jags") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        said, _ = _run(Path(folder), [])
    found = re.search(r"JAGS (\d\S*)", said)
    return found.group(1) if found else "of unknown version"


def sample(task: Task, seed: int) -> Sampled:
    """Sample by the ``jags`` program; what it takes to write draws as text counts as sampling.

    It cannot time itself, so that it runs twice: up to where sampling starts, then to the end.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled = _written(folder, task, seed)
        _, compiling = _run(folder, compiled)
        monitors = [f"monitor {monitored}" for monitored in MONITORED]
        _, whole = _run(folder, [*compiled, f"update {task.tune}", *monitors, f"update {task.draws}", "coda *"])
        return Sampled(_read(folder, task), whole - compiling, compiling)


def _run(folder: Path, commands: list[str]) -> tuple[str, float]:
    """Run a script and return what was printed, and the CPU seconds."""
    (folder / "run.cmd").write_text("\n".join([*commands, "exit", ""]))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["jags", "run.cmd"], cwd=folder, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or "rror" in done.stdout + done.stderr:
        raise RuntimeError(f"jags failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _written(folder: Path, task: Task, seed: int) -> list[str]:
    """Write model, data and starts, and return the commands up to where sampling starts."""
    prior, x = task.prior, task.values
    n, d = x.shape
    text = MODEL
    for word, meaning in (MANY if d > 1 else ONE).items():
        text = text.replace(word, meaning)
    (folder / "mixture.bug").write_text(text)
    given = {"n": n, "k": len(prior.dof), "x": x, "zero": np.zeros(d), "concentration": prior.concentration}
    names = "loc", "shrinkage", "dof", "scale"
    given |= {name: getattr(prior, name) for name in names} | ({"d": d} if d > 1 else {})
    (folder / "data.R").write_text(_dumped(given))
    rng = np.random.default_rng(seed)
    commands = ["model in mixture.bug", "data in data.R", f"compile, nchains({task.chains})"]
    for chain, start in enumerate(task.started(seed), 1):
        (folder / f"start{chain}.R").write_text(_dumped(_start(task, start, rng)))
        commands.append(f"parameters in start{chain}.R, chain({chain})")
    return [*commands, "initialize"]


def _start(task: Task, start: MixtureParameters, rng: np.random.Generator) -> dict[str, Any]:
    """Return a start, with labels drawn from its responsibilities."""
    prior, r = task.prior, responsibilities(start, task.data)
    return {
        "weights": start.weights,
        "offset": (start.means - prior.loc) * np.sqrt(prior.shrinkage)[:, None],
        "precision": np.linalg.inv(start.covariances),
        "z": 1 + (rng.random(r.shape[1]) > np.cumsum(r, axis=0)[:-1]).sum(axis=0),
        ".RNG.name": "base::Mersenne-Twister",
        ".RNG.seed": int(rng.integers(2**31 - 1)),
    }


def _dumped(values: Mapping[str, Any]) -> str:
    """Return values as R's `dump` writes them: columns first."""
    lines = []
    for name, value in values.items():
        if not isinstance(value, np.ndarray):
            lines.append(f'"{name}" <- {f'"{value}"' if isinstance(value, str) else value}')
            continue
        flat = ", ".join(repr(each.item()) for each in value.ravel(order="F"))
        shape = ", ".join(map(str, value.shape))
        lines.append(f'"{name}" <- structure(c({flat}), .Dim = c({shape}))')
    return "\n".join([*lines, ""])


def _read(folder: Path, task: Task) -> MixtureParameters:
    """Read the draws, which stand in one column, variable by variable."""
    k, d = task.prior.loc.shape
    grid = task.chains, task.draws
    found = {"weights": np.empty((*grid, k)), "means": np.empty((*grid, k, d)), "precision": np.empty((*grid, k, d, d))}
    lines = (folder / "CODAindex.txt").read_text().splitlines()
    for chain in range(task.chains):
        values = np.loadtxt(folder / f"CODAchain{chain + 1}.txt", usecols=1)
        for line in lines:
            name, first, last = line.split()
            variable, _, at = name.rstrip("]").partition("[")
            index = tuple(int(i) - 1 for i in at.split(","))
            found[variable][chain, :, *index] = values[int(first) - 1 : int(last)]
    return MixtureParameters(found["weights"], found["means"], np.linalg.inv(found["precision"]))
