"""A result as one self-contained HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm import plots
from bayesgmm.answers.tables import memberships_frame
from bayesgmm.data.writing import write_text
from bayesgmm.engines.elsewhere import Elsewhere
from bayesgmm.extras import REPORT, need
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.plots.membership import sampled_rows
from bayesgmm.reports.methods import paragraph, sources
from bayesgmm.results.words import headline, shown_summary, verdict
from bayesgmm.studies.compare import compare

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.data import Observations
    from bayesgmm.results.result import MixtureResult

#: Rows of the table of memberships, and features and parameters in tables and sentences.
MOST_TABLED, MOST_FEATURES, MOST_PARAMETERS = 1000, 12, 200


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the page.

    Attributes
    ----------
    html : str
        Plotly's.
    caption, alt : str
        What is seen, for those who see it and those who do not.
    """

    html: str
    caption: str
    alt: str


def report(
    result: MixtureResult, path: str | os.PathLike[str], *, point: MixtureResult | None = None, title: str = ""
) -> Path:
    """Write a result as one HTML page that needs nothing else: no other file, and no network.

    Parameters
    ----------
    result : MixtureResult
        Of any engine; loaded ones, too.
    path : path
        Where to write; a file that is there is replaced.
    point : MixtureResult, optional
        EM's result on the same rows, to stand beside a posterior.
    title : str, optional
        Of the page.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ModelError, DataError
        If ``point`` does not fit the result.
    FileNotFoundError
        If the folder does not exist.

    Notes
    -----
    Of many rows a sample is shown, and the page says so: 1,000 in the table, 2,000 in figures.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import bayesgmm as bg
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1)
    >>> bg.report(result, pathlib.Path(tempfile.mkdtemp()) / "report.html").name
    'report.html'
    """
    need("a report", "report", *REPORT)
    return write_text(path, _page(result, point, title))


def _page(result: MixtureResult, point: MixtureResult | None, title: str) -> str:
    from jinja2 import Environment, PackageLoader
    from plotly.offline import get_plotlyjs

    template = Environment(loader=PackageLoader("bayesgmm", "reports"), autoescape=True).get_template("report.html")
    rows, _ = sampled_rows(result, None, MOST_TABLED)
    columns, cells, words = _membership_table(result, rows)
    diagnostics = result.diagnostics()
    methods = paragraph(result, diagnostics)
    contents = ["data", "groups", "memberships", "figures", "diagnostics", "methods", "reproduce"]
    if point is not None:
        contents.insert(5, "comparison")
    return template.render(
        title=title or f"{result.model.n_components} groups in {result.n_rows:,} rows",
        headline=headline(result),
        verdict=verdict(result),
        sound=not result.warnings,
        contents=[(name, name.capitalize()) for name in contents],
        data_words=_data_words(result),
        data_table=_table(_data_summary(result)),
        groups=_group_sentences(result),
        parameter_table=_table(shown_summary(result).head(MOST_PARAMETERS)),
        membership_words=words,
        membership_columns=columns,
        membership_rows=cells,
        figures=_figures(result),
        diagnostic_words=_diagnostic_words(result),
        advice=[f"{warning}." for warning in result.warnings],
        diagnostic_table=_table(diagnostics),
        comparison=None if point is None else _comparison(point, result),
        methods=methods,
        sources=sources(methods),
        code=_code(result),
        versions=_versions(result),
        plotly_source=get_plotlyjs(),
    )


def _table(frame: pd.DataFrame) -> str:
    """Return a data frame as HTML, its texts escaped."""

    def plain(name: Any) -> str:
        return str(name).replace("_", " ")

    shown = frame.rename_axis(None).rename(columns=plain)
    return shown.to_html(float_format="{:.4g}".format, na_rep="", border=0, justify="right")


def _data_words(result: MixtureResult) -> str:
    data = result.data
    kept = (
        f" (a sample of {len(data):,} is kept with the result and summed up here)" if result.n_rows > len(data) else ""
    )
    features = ", ".join(data.features[:MOST_FEATURES]) + (", ..." if data.n_features > MOST_FEATURES else "")
    weighted = " Rows have weights." if (data.sample_weight != data.sample_weight[0]).any() else ""
    return f"{result.n_rows:,} rows{kept} of {data.n_features} feature(s): {features}.{weighted}"


def _data_summary(result: MixtureResult) -> pd.DataFrame:
    import pandas as pd

    data = result.data
    mean = np.average(data.values, axis=0, weights=data.sample_weight)
    variance = np.average((data.values - mean) ** 2, axis=0, weights=data.sample_weight)
    low, high = data.values.min(axis=0), data.values.max(axis=0)
    return pd.DataFrame(
        {"mean": mean, "sd": np.sqrt(variance), "least": low, "largest": high}, index=list(data.features)
    )


def _group_sentences(result: MixtureResult) -> list[str]:
    """Return a sentence a group: its share, and what sets it apart."""
    found = result.summary()
    data = result.data
    overall = _data_summary(result)

    def interval(name: str, scale: float = 1.0) -> str:
        row = found.loc[name]
        ends = "" if result.is_point else f" ({scale * row['lower']:.3g} to {scale * row['upper']:.3g})"
        return f"{scale * row['mean']:.3g}{ends}"

    sentences = []
    for c in range(result.model.n_components):
        share = f"{interval(f'weight[{c}]', 100)} %" if f"weight[{c}]" in found.index else "100 %"
        parts = []
        for feature in data.features[:MOST_FEATURES]:
            usual = overall.loc[feature]
            away = (found.loc[f"mean[{c}, {feature}]", "mean"] - usual["mean"]) / usual["sd"]
            far = f"{abs(away):.1f} sd {'above' if away > 0 else 'below'} average"
            side = "about average" if abs(away) < 0.25 else far
            parts.append(f"{feature} {interval(f'mean[{c}, {feature}]')}, {side}")
        sentences.append(f"Group {c} has {share} of the rows. Its mean: {'; '.join(parts)}.")
    return sentences


def _membership_table(result: MixtureResult, rows: Observations) -> tuple[list[str], list[list[str]], str]:
    """Return headings, cells and a sentence: the rows that are least sure come first."""
    found = result.memberships(rows)
    frame = memberships_frame(found)
    order = np.argsort(-found["entropy"].values, kind="stable")
    columns = ["row", *(str(name).replace("_", " ") for name in frame.columns)]
    values = frame.to_numpy()[order]
    index = frame.index.to_numpy()[order]
    cells = [[str(name), *(_cell(value) for value in row)] for name, row in zip(index, values, strict=True)]
    unsure = int((found["probability"].max("component") < 0.9).sum())
    shown = "all rows" if len(rows) == result.n_rows else f"a sample of {len(rows):,} of {result.n_rows:,} rows"
    every = (
        "" if len(rows) == result.n_rows else " All are written by result.memberships(data, to='memberships.parquet')."
    )
    return columns, cells, (
        f"The table shows {shown}, least sure first; {unsure:,} of these belong to no group with a probability of .9. "
        f"{'' if result.is_point else 'lower and upper are the ends of 90 % credible intervals.'}{every}"
    )  # fmt: skip


def _cell(value: Any) -> str:
    return "" if value != value else f"{value:.0f}" if float(value).is_integer() else f"{value:.4f}"  # noqa: PLR0124


def _figures(result: MixtureResult) -> list[Figure]:
    several = result.data.n_features > 1
    wanted: list[tuple[Callable[..., Any], str]] = [
        (plots.components, "Rows in the colours of their memberships, opaque where sure; an ellipse holds 90 % of its "
         "group, thin ones are draws of the posterior."),
    ] if several else []  # fmt: skip
    wanted.append(
        (plots.density, "Density of each feature with its 90 % band, and the groups under it, over the rows.")
    )
    wanted.append(
        (plots.memberships, "Membership of every row, sorted, with its interval: a wide band is an unsure row.")
    )
    if not result.is_point:
        wanted.append((
            plots.entropy,
            "Why rows are unsure: to the right the groups overlap, and more data will not help; upwards the parameters "
            "are uncertain, and more data will.",
        ))  # fmt: skip
    wanted.append((plots.coclustering, "Probability that two rows belong to one group; no label is needed for that."))
    if "trace" in result.tree.children:
        wanted.append((plots.em_trace, "What each iteration of EM gains."))
    return [_figure(draw(result, backend="plotly"), caption) for draw, caption in wanted]


def _figure(collection: Any, caption: str) -> Figure:
    drawn = collection.viz["figure"].item()
    drawn.update_layout(autosize=True, width=None, margin={"l": 60, "r": 20})
    html = drawn.to_html(full_html=False, include_plotlyjs=False, config={"responsive": True, "displaylogo": False})
    return Figure(html, caption, caption.split(";", maxsplit=1)[0].rstrip("."))


def _diagnostic_words(result: MixtureResult) -> str:
    if result.kind != "posterior":
        return (
            "This is a point estimate: whether EM converged, from how many starts, is below. It says nothing of how "
            "sure the parameters are, except where intervals were asked for."
        )
    return (
        "R-hat compares chains (at most 1.01 is wanted), the effective draws (at least 400) say how many independent "
        "draws they are worth; all are of quantities that no permutation of group labels changes."
    )


def _comparison(point: MixtureResult, result: MixtureResult) -> dict[str, Any]:
    found = compare(point, result)
    outside = sum(word != "yes" for word in found.parameters["inside"])
    words = (
        f"Of {len(found.parameters)} parameters EM puts {outside} outside their 90 % intervals. Most different "
        f"membership: {found.memberships['difference'].abs().max():.3f}."
    )
    return {"words": words, "table": _table(found.parameters.head(MOST_PARAMETERS))}


def _code(result: MixtureResult) -> str:
    """Return Python that makes the result again from the same rows."""
    model = result.model
    plain = model == MixtureModel(model.n_components)
    wanted = str(model.n_components) if plain else _model_text(model)
    numpy = "from numpy import array\n" if "array(" in wanted else ""
    rows = "data = ...  # the same rows, in the same order\n"
    if isinstance(result.engine, Elsewhere):
        made = f"result = bg.MixtureResult.from_draws(draws, data, {wanted})"
        return f"{numpy}import bayesgmm as bg\n\n{rows}draws = ...  # made elsewhere\n{made}"
    return (
        f"{numpy}import bayesgmm as bg\n\n{rows}"
        f"result = bg.fit(data, {wanted}, engine=bg.{result.engine!r}, seed={result.tree.attrs['seed']})"
    )


def _model_text(model: MixtureModel) -> str:
    with np.printoptions(precision=17, floatmode="unique", threshold=10**9):
        written = f"{model.prior!r}" if model.is_flat else f"bg.{model.prior!r}"
    prior = "" if model.prior is None else f", prior={written}"
    return f"bg.MixtureModel({model.n_components}, {model.covariance_type!r}{prior})"


def _versions(result: MixtureResult) -> str:
    made = result.tree.attrs
    versions = json.loads(made["versions"]) if "versions" in made else {}
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"Seed {made['seed']}; {result.seconds:.2g} s. {named}"
