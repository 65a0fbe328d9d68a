"""Data and fits that many tests share."""

import sys

import numba
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.model.parameters import COVARIANCE_TYPES

#: Importing it puts our estimators in scikit-learn's place: collected with the tests, they met themselves.
collect_ignore = ["sklearn_door.py"]


@pytest.fixture(scope="session")
def faithful():
    return bg.datasets.load_faithful()


@pytest.fixture(scope="session")
def galaxies():
    """The version of R's MASS, to which published mclust figures belong."""
    return bg.datasets.load_galaxies("mass")


@pytest.fixture(scope="session")
def iris():
    return bg.datasets.load_iris().drop(columns="species")


@pytest.fixture(scope="session")
def customers():
    return bg.datasets.load_customers()


@pytest.fixture(scope="session")
def em_result(faithful):
    return bg.fit(faithful, 2, engine="em", seed=1)


@pytest.fixture(scope="session")
def nuts_result(faithful):
    return bg.fit(faithful, 2, seed=1, progress=False)


@pytest.fixture(params=COVARIANCE_TYPES)
def kind(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


@pytest.fixture(autouse=True)
def figures_closed():
    """Close what a test has drawn: Matplotlib keeps figures, and warns of the twentieth."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def pytest_configure(config):
    """Let whole numbers wrap round in silence where the loops that draw labels run as Python."""
    if numba.config.DISABLE_JIT:
        config.addinivalue_line("filterwarnings", "ignore:overflow encountered in scalar:RuntimeWarning")


def pytest_collection_modifyitems(items):
    """Skip what is only bearable compiled, where coverage is taken of the loops as Python."""
    if numba.config.DISABLE_JIT:
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason="NUMBA_DISABLE_JIT is set"))
