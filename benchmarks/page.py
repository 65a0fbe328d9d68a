"""All results as one page with plots: ``python -m benchmarks.page`` writes benchmarks/results/index.html."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable
from typing import Any

from benchmarks.report import RESULTS

STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:70rem;margin:auto;padding:1rem}"
    "table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
    ".wide{overflow-x:auto}.note{color:#555;font-size:.9rem}"
)


def written() -> str:
    """Return the page."""
    parts = [_section(path.stem, json.loads(path.read_text())) for path in sorted(RESULTS.glob("*.json"))]
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>bayesgmm, measured</title><style>{STYLE}</style>'
    )
    return f"{head}<h1>bayesgmm, measured</h1>{''.join(parts)}</html>\n"


def _section(name: str, found: dict[str, Any]) -> str:
    rows = found["rows"]
    columns = list(rows[0])
    header = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(c))}</td>' for c in columns)}</tr>" for row in rows)
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items() if value is not None)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in found["notes"])
    drawn = PLOTS[name](rows) if name in PLOTS else ""
    return (
        f"<h2>{html.escape(name)}</h2><p>{html.escape(found['title'])}. "
        f"<code>python -m benchmarks.run {name}</code></p>"
        f'{drawn}<div class="wide"><table><tr>{header}</tr>{body}</table></div>{notes}'
        f'<p class="note">{html.escape(machine)}</p>'
    )


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return (
        html.escape(value) if isinstance(value, str) else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    )


def _figure(draw: Callable[[Any], None], columns: int = 1) -> str:
    """Return what is drawn on so many axes as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * columns, 3.4), layout="constrained")
    draw(figure.subplots(1, columns, squeeze=False)[0])
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "bayesgmm"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def _em_iteration(rows: list[dict[str, Any]]) -> str:
    def draw(axes: Any) -> None:
        labels = [f"{row['n']:,} x {row['d']}, {row['k']}" for row in rows]
        for offset, peer in ((-0.2, "sklearn"), (0.2, "onedal")):
            axes[0].bar(
                [at + offset for at in range(len(rows))], [row[f"over_{peer}"] or 0 for row in rows], 0.4, label=peer
            )
        axes[0].set(yscale="log", ylabel="times as long as bayesgmm", xticks=range(len(rows)))
        axes[0].set_xticklabels(labels, rotation=30, ha="right", fontsize=8)
        axes[0].legend()

    return _figure(draw, 1)


def _scaling(rows: list[dict[str, Any]]) -> str:
    def draw(axes: Any) -> None:
        for axis, grows in zip(axes, ("n", "d", "k"), strict=True):
            some = [row for row in rows if row["what"] == grows]
            for column in (c for c in some[0] if c.endswith("_ms")):
                points = [(row[grows], row[column]) for row in some if row[column] and row[column] > 0]
                axis.loglog(*zip(*points, strict=True), "o-", label=column[:-3]) if points else None
            axis.set(xlabel=grows, ylabel="ms an iteration")
        axes[0].legend(fontsize=8)

    return _figure(draw, 3)


def _effective(rows: list[dict[str, Any]]) -> str:
    """Draw effective draws per second, data set by data set."""
    names = list(dict.fromkeys(row["data"] for row in rows))

    def draw(axes: Any) -> None:
        for axis, name in zip(axes, names, strict=True):
            some = [row for row in rows if row["data"] == name]
            axis.barh([row["form"] for row in some], [row["ess_per_s"] for row in some])
            axis.set(xscale="log", title=name, xlabel="effective draws per CPU s")

    return _figure(draw, len(names))


PLOTS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "em_iteration": _em_iteration,
    "scaling": _scaling,
    "samplers": _effective,
    "whitening": _effective,
}


if __name__ == "__main__":
    (RESULTS / "index.html").write_text(written(), encoding="utf-8")
