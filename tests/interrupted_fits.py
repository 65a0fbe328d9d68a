"""Ctrl-C at random moments of first fits, each in a process of its own; prints how many ended how.

    NUMBA_CACHE_DIR=FOLDER python tests/interrupted_fits.py INTERRUPTS SECONDS empty
    python tests/interrupted_fits.py INTERRUPTS SECONDS kept

With ``empty`` the folder of what numba keeps is emptied whenever a fit has gone through; with ``kept`` every fit has a
number of features of its own, whose steps are compiled.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter

import numpy as np

import bayesgmm as bg

ENDS = {3: "finished", 4: "interrupted", 5: "another exception", 6: "wrong after an interrupt"}


def fitted(d):
    """Return the means of a fit of two groups."""
    x = np.random.default_rng(1).normal(size=(300, d)) + np.repeat([[0.0], [4.0]], 150, axis=0)
    return bg.fit(x, 2, engine=bg.EM(n_init=1), seed=1).means.values


def of_process(work):
    """Do some work in a fork and return its number."""
    process = os.fork()
    if process == 0:
        try:
            try:
                os._exit(work())
            except KeyboardInterrupt:
                os._exit(4)
        finally:
            os._exit(5)
    return process


def once(d, path):
    """Fit; after an interrupt, fit again and compare with what an undisturbed process finds."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fitted(d)
    except KeyboardInterrupt:
        if path is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            np.save(path, fitted(d))
        return 4
    return 3


def is_right(d, path):
    """Return whether what a process has written after its interrupt, if it has, is what another one finds."""
    if path is None or not os.path.exists(path):
        return True
    alone = of_process(lambda: 3 if np.array_equal(np.load(path), fitted(d)) else 6)
    return os.waitstatus_to_exitcode(os.waitpid(alone, 0)[1]) == 3


def main(interrupts, seconds, keeps):
    """Count how fits end that are interrupted; some fit again afterwards."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ends, rng, folder = Counter(), np.random.default_rng(), tempfile.mkdtemp()
    if keeps:
        fitted(2)
    for number in range(interrupts):
        d, path = 21 + number if keeps else 2, f"{folder}/{number}.npy" if number % (5 if keeps else 40) == 0 else None
        process = of_process(lambda d=d, path=path: once(d, path))
        time.sleep(rng.uniform(0.0, seconds))
        os.kill(process, signal.SIGINT)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        ends[ENDS.get(code, f"code {code}") if is_right(d, path) else ENDS[6]] += 1
        if (code == 3 or path is not None) and not keeps:
            shutil.rmtree(os.environ["NUMBA_CACHE_DIR"])
            os.mkdir(os.environ["NUMBA_CACHE_DIR"])
    shutil.rmtree(folder)
    print(json.dumps(ends))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "kept")
