"""Results and comparisons as text for a terminal of 80 columns, and as HTML for a notebook."""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.errors import BayesGMMWarning, DoubtfulGroupsWarning
from bayesgmm.results.tree import observations_of

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.results.result import MixtureResult

#: Columns that a terminal has.
WIDTH = 80
#: Whose labels draws carry, where they are not those that every fit gives them.
LABELS = {
    "stephens": "; labels by Stephens' method",
    "ecr": "; labels by ECR",
    "ecr-iterated": "; labels by iterated ECR",
    "none": "; labels as sampled",
}
#: Names of columns that a headline lists.
MOST_NAMES = 20
#: Rows of a table that are printed; the data frame has them all.
MOST_ROWS = 20


def table_text(frame: pd.DataFrame, title: str, digits: int = 3) -> str:
    """Return a data frame as a table of plain lines, at most 80 columns wide."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, title_justify="left", pad_edge=False, title_style="")
    shown = frame.head(MOST_ROWS).rename(index=lambda label: plain(str(label)))
    longest = max(map(len, shown.index), default=0)
    table.add_column(plain(str(frame.index.name or "")).replace("_", " "), overflow="fold", min_width=min(longest, 20))
    cells = [[_cell(value, digits) for value in row] for _, row in shown.iterrows()]
    for at, name in enumerate(frame.columns):
        # Names may wrap; a number that is cut short would be another number.
        widest = max((len(row[at]) for row in cells), default=0)
        table.add_column(plain(str(name)).replace("_", " "), justify="right", min_width=widest)
    for label, row in zip(shown.index, cells, strict=True):
        table.add_row(str(label), *row)
    if len(frame) > MOST_ROWS:
        table.caption = f"{len(frame) - MOST_ROWS} more rows in the data frame"
    # In a notebook rich would show the table itself, in bold, and leave nothing to return.
    colourless: dict[str, Any] = {"force_jupyter": False, "force_terminal": False, "color_system": None}
    console = Console(file=io.StringIO(), width=WIDTH, markup=False, highlight=False, **colourless)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _cell(value: Any, digits: int) -> str:
    """Return a number with so many significant digits, whole ones whole, and nothing for NaN."""
    if isinstance(value, str):
        return plain(value)
    if value != value:  # noqa: PLR0124, only NaN differs from itself
        return ""
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.{max(digits, len(str(int(abs(value)))))}g}" if abs(value) < 1e6 else f"{value:.{digits}g}"


def headline(result: MixtureResult) -> str:
    """Return one sentence: what was fitted to what, how."""
    data, model = observations_of(result.tree), result.model
    sizes = result.weights.sizes
    how = f"{sizes['chain']} chains of {sizes['draw']} draws"
    if result.kind != "posterior":
        how = "a point estimate" + ("" if result.is_point else f" with {sizes['draw']} draws of its {result.kind},")
    labels = LABELS.get(result.relabelling, "") if result.has_free_labels else ""
    took = f" in {result.seconds:.2g} s" if result.seconds else ""  # Unknown of draws that were made elsewhere.
    return (
        f"{model.words}; {result.n_rows:,} rows of {data.n_features} features ({_listed(data.features)}); "
        f"{type(result.engine).__name__}: {how}{took}{labels}"
    )


def _listed(names: tuple[str, ...]) -> str:
    """Return names of columns with commas between, long ones and many cut short."""
    short = [name if len(name) <= 30 else f"{name[:27]}..." for name in map(plain, names[:MOST_NAMES])]
    return ", ".join(short) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def verdict(result: MixtureResult) -> str:
    """Return one sentence: whether the numbers can be used."""
    if result.kind != "posterior":
        settled = bool(result.tree.attrs["converged"])
        said = "EM converged." if settled else "EM did NOT converge."
        return " ".join([said, *(_sentence(doubt) for doubt in result.warnings)])
    said = result.warnings
    of_groups = [doubt for doubt in said if isinstance(doubt, DoubtfulGroupsWarning)]
    of_draws = [str(doubt) for doubt in said if not isinstance(doubt, DoubtfulGroupsWarning)]
    first = f"Do NOT trust these draws yet: {'; '.join(of_draws)}." if of_draws else _praise(result)
    return " ".join([first, *(_sentence(doubt) for doubt in of_groups)])


def _sentence(doubt: BayesGMMWarning) -> str:
    return f"{str(doubt)[0].upper()}{str(doubt)[1:]}."


def _praise(result: MixtureResult) -> str:
    """Return a sentence on draws of which there is no doubt."""
    found, rate = result.diagnostics(), result.switch_rate
    switching = "" if np.isnan(rate) else f"; label switch rate {rate:.2g}"
    return (
        f"Diagnostics are good: R-hat at most {found['r_hat'].max():.3f}, at least {found['ess_bulk'].min():.0f} "
        f"effective draws, no divergences{switching}."
    )


def wrapped(text: str, indent: str = "") -> str:
    """Return a paragraph in lines of at most 80 columns, all but the first after an indent."""
    import textwrap

    return textwrap.fill(plain(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def plain(text: str) -> str:
    r"""Return text as a terminal can show it: what would move its cursor or name its window is written as \x1b."""
    return "".join(c if c.isprintable() else " " if c == "\n" else ascii(c)[1:-1] for c in text)


def result_text(result: MixtureResult) -> str:
    """Return a result as it prints."""
    frame = shown_summary(result)
    return "\n".join([wrapped(headline(result)), wrapped(verdict(result)), "", table_text(frame, "Parameters")])


def shown_summary(result: MixtureResult) -> pd.DataFrame:
    """Return the columns of the summary that say something."""
    frame = result.summary()
    if result.is_point:
        return frame.loc[:, ["mean"]].rename(columns={"mean": "estimate"})
    kept = ["mean", "sd", "lower", "upper", "r_hat", "ess_bulk"]
    return frame.loc[:, kept if result.kind == "posterior" else kept[:4]]


def result_html(result: MixtureResult) -> str:
    """Return a result for a notebook: names of columns are escaped."""
    said = f"<p>{html.escape(headline(result))}</p><p>{html.escape(verdict(result))}</p>"
    return f"<div>{said}{shown_summary(result).to_html(float_format='{:.4g}'.format, na_rep='')}</div>"
