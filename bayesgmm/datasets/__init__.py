"""Small tables to try mixtures on, shipped with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from bayesgmm.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_customers", "load_faithful", "load_galaxies", "load_iris"]

#: Velocity of the 78th galaxy, by source; the shipped table has that of the papers.
VELOCITY_78 = {"papers": 26.96, "mass": 26.69}


def load_customers() -> pd.DataFrame:
    """Return 400 simulated customers of a shop, of two groups that overlap.

    The columns are ``basket_value``, the mean value of an order (EUR), and
    ``orders_per_year``, the mean number of orders in a year; the index is ``customer``.
    The group is not in the table. Customer C200 was placed between the groups, where the
    true membership in "premium" is close to 0.60. All other rows are draws from the
    parameters below, rounded to 2 decimals. They describe no real person.

    ======== ====== ========== ================== ===========
    group    weight mean       standard deviation correlation
    ======== ====== ========== ================== ===========
    premium  0.35   (71, 11.5) (15, 2.4)          -0.4
    discount 0.65   (42, 7)    (9, 1.5)           0.3
    ======== ====== ========== ================== ===========

    Returns
    -------
    pandas.DataFrame
        400 rows, 2 columns of floats.

    Notes
    -----
    Simulated by `bayesgmm.datasets.simulate_customers`; under the licence of this package.

    Examples
    --------
    >>> from bayesgmm.datasets import load_customers
    >>> load_customers().loc["C200"].to_dict()
    {'basket_value': 59.9, 'orders_per_year': 9.8}
    """
    return _read("customers").set_index("customer")


def load_faithful() -> pd.DataFrame:
    """Return 272 eruptions of the Old Faithful geyser, Yellowstone National Park.

    The columns are ``eruptions``, the duration of an eruption (minutes), and ``waiting``,
    the time to the next one (minutes).

    Returns
    -------
    pandas.DataFrame
        272 rows, 2 columns of numbers.

    Notes
    -----
    The version of R's ``datasets::faithful``; ``MASS::geyser`` is a longer one, of 299
    eruptions. Published measurements, public data.

    References
    ----------
    Azzalini & Bowman (1990), doi:10.2307/2347385.

    Examples
    --------
    >>> from bayesgmm.datasets import load_faithful
    >>> load_faithful().mean().round(3).to_dict()
    {'eruptions': 3.488, 'waiting': 70.897}
    """
    return _read("faithful")


def load_galaxies(source: Literal["papers", "mass"] = "papers") -> pd.DataFrame:
    """Return the velocities of 82 galaxies in the Corona Borealis region.

    The one column is ``velocity``, the speed at which a galaxy recedes (1000 km/s), in
    rising order.

    Parameters
    ----------
    source : {"papers", "mass"}
        The 78th value is 26.96 in the papers (Roeder 1990; Richardson & Green 1997), and
        26.69 in R's ``MASS::galaxies``, a known misprint. Published figures of R's mclust
        are of the MASS version.

    Returns
    -------
    pandas.DataFrame
        82 rows, 1 column of floats.

    Raises
    ------
    bayesgmm.errors.ModelError
        If ``source`` is neither of the two.

    Notes
    -----
    Measured by Postman, Huchra & Geller (1986). Published measurements, public data.

    References
    ----------
    Roeder (1990), doi:10.1080/01621459.1990.10474918.
    Richardson & Green (1997), doi:10.1111/1467-9868.00095.

    Examples
    --------
    >>> from bayesgmm.datasets import load_galaxies
    >>> float(load_galaxies()["velocity"].iloc[77])
    26.96
    >>> float(load_galaxies(source="mass")["velocity"].iloc[77])
    26.69
    """
    if source not in VELOCITY_78:
        raise ModelError(f"`source` has to be one of {tuple(VELOCITY_78)}, got {source!r}")
    galaxies = _read("galaxies")
    galaxies.loc[77, "velocity"] = VELOCITY_78[source]
    return galaxies


def load_iris() -> pd.DataFrame:
    """Return 150 iris flowers of three species.

    The columns are ``sepal_length``, ``sepal_width``, ``petal_length`` and ``petal_width``
    (cm), and ``species``: setosa, versicolor or virginica, 50 flowers each.

    Returns
    -------
    pandas.DataFrame
        150 rows, 4 columns of floats and 1 of text.

    Notes
    -----
    The version of R's ``datasets::iris``, which agrees with Fisher's paper; the file of the
    UCI repository differs from it in rows 35 and 38. Collected by Anderson (1935, "The
    irises of the Gaspe Peninsula"). Published measurements, public data.

    References
    ----------
    Fisher (1936), doi:10.1111/j.1469-1809.1936.tb02137.x.

    Examples
    --------
    >>> from bayesgmm.datasets import load_iris
    >>> load_iris()["species"].value_counts().to_dict()
    {'setosa': 50, 'versicolor': 50, 'virginica': 50}
    """
    return _read("iris")


def _read(name: str) -> pd.DataFrame:
    """Read a table shipped beside this module."""
    # Late, so that `import bayesgmm` does not pay for pandas.
    import pandas as pd

    with files(__name__).joinpath(f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
