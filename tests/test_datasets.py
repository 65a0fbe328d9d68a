"""Claims about the tables shipped with the package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayesgmm import datasets
from bayesgmm.datasets import simulate_customers as truth
from bayesgmm.errors import ModelError

COLUMNS = {
    "customers": ["basket_value", "orders_per_year"],
    "faithful": ["eruptions", "waiting"],
    "galaxies": ["velocity"],
    "iris": ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"],
}
ROWS = {"customers": 400, "faithful": 272, "galaxies": 82, "iris": 150}


def true_premium_memberships():
    """Return each customer's probability of "premium" under the parameters that made the table."""
    values = datasets.load_customers().to_numpy()
    joint = [
        weight * multivariate_normal(mean, covariance).pdf(values)
        for weight, mean, covariance in zip(truth.WEIGHTS, truth.MEANS, truth.COVARIANCES, strict=True)
    ]
    return joint[truth.GROUPS.index("premium")] / np.sum(joint, axis=0)


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_have_the_documented_rows_and_columns_and_no_gaps(name):
    table = getattr(datasets, f"load_{name}")()
    assert len(table) == ROWS[name]
    assert list(table.columns) == COLUMNS[name]
    assert not table.isna().any(axis=None)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_call_returns_a_table_of_its_own(name):
    load = getattr(datasets, f"load_{name}")
    changed = load()
    changed.iloc[0, 0] = 0
    assert load().iloc[0, 0] != 0


def test_faithful_has_the_published_means():
    means = datasets.load_faithful().mean().to_numpy()
    np.testing.assert_allclose(means, [3.487783, 70.897059], rtol=0, atol=5e-7)


@pytest.mark.parametrize(("source", "value"), [("papers", 26.96), ("mass", 26.69)])
def test_78th_galaxy_differs_between_the_papers_and_mass(source, value):
    velocity = datasets.load_galaxies(source)["velocity"]
    assert velocity[77] == value
    assert velocity.is_monotonic_increasing
    assert (velocity.min(), velocity.max()) == (9.172, 34.279)


def test_galaxies_are_those_of_the_papers_unless_asked_otherwise():
    by_default = datasets.load_galaxies()["velocity"]
    differs = by_default != datasets.load_galaxies("mass")["velocity"]
    assert list(np.flatnonzero(differs)) == [77]
    assert by_default.tolist()[77] == 26.96


def test_wrong_source_of_galaxies_is_named():
    with pytest.raises(ModelError, match=r"`source` has to be one of .*'mass'.*, got 'R'"):
        datasets.load_galaxies("R")  # pyright: ignore[reportArgumentType]


def test_iris_is_fishers_version_with_the_published_means_of_each_species():
    iris = datasets.load_iris()
    assert iris["species"].value_counts().to_dict() == dict.fromkeys(["setosa", "versicolor", "virginica"], 50)
    setosa = iris[iris["species"] == "setosa"].drop(columns="species")
    np.testing.assert_allclose(setosa.mean(), [5.006, 3.428, 1.462, 0.246])
    assert list(iris.loc[34].drop("species")) == [4.9, 3.1, 1.5, 0.2]
    assert list(iris.loc[37].drop("species")) == [4.9, 3.6, 1.4, 0.1]


def test_shipped_customers_are_what_the_script_writes(tmp_path):
    truth.write(tmp_path / "customers.csv")
    shipped = datasets.files(datasets.__name__).joinpath("customers.csv").read_bytes()
    assert (tmp_path / "customers.csv").read_bytes() == shipped


def test_customers_are_positive_and_indexed_by_name():
    customers = datasets.load_customers()
    assert customers.index.name == "customer"
    assert customers.index[[0, -1]].tolist() == ["C001", "C400"]
    assert customers.index.is_unique
    assert (customers > 0).all(axis=None)


def test_customer_c200_truly_belongs_to_premium_with_probability_near_three_fifths():
    position = datasets.load_customers().index.get_loc(truth.BETWEEN)
    assert true_premium_memberships()[position] == pytest.approx(0.60, abs=0.05)


def test_about_a_tenth_of_the_customers_lie_between_the_groups():
    premium = true_premium_memberships()
    assert 0.08 <= np.mean((premium > 0.1) & (premium < 0.9)) <= 0.10


def test_shares_of_true_memberships_agree_with_the_true_weights():
    """The mean responsibility estimates the weight; its error here is about 0.02."""
    assert true_premium_memberships().mean() == pytest.approx(truth.WEIGHTS[0], abs=0.03)


def test_parameters_in_the_docstring_of_customers_are_those_of_the_script():
    documented = datasets.load_customers.__doc__ or ""
    sd = np.sqrt(np.einsum("kii->ki", truth.COVARIANCES))
    correlation = truth.COVARIANCES[:, 0, 1] / sd.prod(axis=1)
    for k, group in enumerate(truth.GROUPS):
        line = next(line for line in documented.splitlines() if line.strip().startswith(group))
        stated = line.replace("(", " ").replace(")", " ").replace(",", " ").split()[1:]
        expected = [truth.WEIGHTS[k], *truth.MEANS[k], *sd[k], correlation[k]]
        np.testing.assert_allclose([float(word) for word in stated], expected, rtol=1e-12)


def test_importing_the_module_of_data_sets_does_not_import_pandas():
    code = "import sys, bayesgmm.datasets; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
