"""Rewrite `customers.csv`: ``python -m bayesgmm.datasets.simulate_customers``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SEED = 2026
N_CUSTOMERS = 400
FEATURES = ("basket_value", "orders_per_year")
#: The true parameters; rows are components, in this order.
GROUPS = ("premium", "discount")
WEIGHTS = np.array([0.35, 0.65])
MEANS = np.array([[71.0, 11.5], [42.0, 7.0]])
COVARIANCES = np.array([[[225.0, -14.4], [-14.4, 5.76]], [[81.0, 4.05], [4.05, 2.25]]])
#: The customer placed by hand between the groups, where the true membership in premium is 0.60.
BETWEEN = "C200"
BETWEEN_VALUES = (59.90, 9.80)


def simulate() -> pd.DataFrame:
    """Return the table of customers, always the same one.

    The groups have their expected sizes exactly, in random order, so that the shares of the
    table are the true weights.

    Returns
    -------
    pandas.DataFrame
        Columns `FEATURES`, index ``customer``, rounded to 2 decimals.
    """
    rng = np.random.default_rng(SEED)
    sizes = np.rint(WEIGHTS * N_CUSTOMERS).astype(int)
    groups = rng.permutation(np.repeat(np.arange(len(GROUPS)), sizes))
    noise = rng.standard_normal((N_CUSTOMERS, len(FEATURES)))
    roots = np.linalg.cholesky(COVARIANCES)[groups]
    values = MEANS[groups] + np.einsum("nij,nj->ni", roots, noise)
    names = [f"C{number:03d}" for number in range(1, N_CUSTOMERS + 1)]
    table = pd.DataFrame(values, index=pd.Index(names, name="customer"), columns=list(FEATURES))
    table.loc[BETWEEN] = BETWEEN_VALUES
    return table.round(2)


def write(path: Path) -> None:
    """Write the table of customers to ``path`` as CSV.

    Parameters
    ----------
    path : pathlib.Path
        File to write; an existing one is replaced.
    """
    simulate().to_csv(path, float_format="%.2f", lineterminator="\n")


if __name__ == "__main__":
    write(Path(__file__).with_name("customers.csv"))
