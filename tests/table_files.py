"""Text files written at random as people write tables, with what they say."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field

import numpy as np

NAMES = ("spend", "visits", "größe", "petal length", "income_2023", "Weight", "x0", "temp", "b.m.i", "width")
WORDS = ("north", "south", "east", "west side", "n. a. r.", "Élan", "up, down", "x1")
SYMBOLS = ("$", "€", "£", "USD ")


@dataclass
class TableFile:
    """A file with the features that it holds, and why it may be refused."""

    content: bytes
    ending: str
    features: dict[str, np.ndarray]
    aside: list[str]
    header: bool
    spoilt: str = ""
    about: dict = field(default_factory=dict)


def mark(number: str, decimal: str, thousands: str) -> str:
    """Write a number with the marks of a country."""
    whole, _, fraction = number.partition(".")
    sign, whole = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    if thousands:
        whole = f"{int(whole):,}".replace(",", thousands)
    return sign + whole + (decimal + fraction if fraction else "")


def feature(rng, n, decimal, separator):
    """Return cells of numbers in one form, and what they say."""
    form = rng.choice(["plain", "plain", "whole", "thousands", "currency", "percent", "small", "exponent"])
    digits = 0 if form == "whole" else int(rng.choice([1, 2, 2, 4]))
    values = rng.normal(40, 15, n) * (100.0 if form == "thousands" else 0.01 if form == "small" else 1.0)
    written = [f"{value:.{digits}f}" for value in values]
    if form == "exponent":
        cells = [f"{value:.{digits}e}".replace(".", decimal) for value in values]
        return cells, np.array([float(cell.replace(decimal, ".")) for cell in cells])
    thousands = ""
    if form == "thousands" or (form == "currency" and rng.random() < 0.5):
        thousands = str(rng.choice(["." if decimal == "," else ",", "'", "\u00a0"]))
    cells = [mark(number, decimal, thousands) for number in written]
    if form == "currency":
        symbol = str(rng.choice(SYMBOLS))
        cells = [f"{symbol}{cell}" if decimal == "." else f"{cell} {symbol.strip()}" for cell in cells]
    if form == "percent":
        cells = [f"{cell}{'' if separator == ' ' else ' '}%" for cell in cells]
    return cells, np.array([float(number) for number in written])


def beside(rng, n, header):
    """Return a column that is no feature: its name and cells."""
    kind = rng.choice(["date", "yes", "text", "id", "index", "code"] if header else ["date", "text", "index"])
    if kind == "date":
        forms = ("{2:04}-{1:02}-{0:02}", "{0:02}.{1:02}.{2:04}", "{1}/{0}/{2}")
        form = str(rng.choice(forms))
        return "day", [form.format(*map(int, (rng.integers(1, 28), rng.integers(1, 12), 2020))) for _ in range(n)]
    if kind == "yes":
        pair = [("yes", "no"), ("TRUE", "FALSE"), ("Y", "N")][rng.integers(3)]
        return "paid", [str(rng.choice(pair)) for _ in range(n)]
    if kind == "text":
        return "region", [str(word) for word in rng.choice(WORDS, n)]
    if kind == "id":
        name = str(rng.choice(["id", "customer_id", "CustomerID", "ID"]))
        numbers = [str(number) for number in rng.choice(9000, n, replace=False) + 1000]
        return name, numbers if rng.random() < 0.5 else [f"C{number}" for number in numbers]
    if kind == "code":
        return "zip", [f"0{number}" for number in rng.integers(1000, 9999, n)]
    first = int(rng.integers(2))
    return ("" if rng.random() < 0.5 else "nr"), [str(first + row) for row in range(n)]


def quoted(cell: str, separator: str) -> str:
    """Quote a cell that needs it."""
    needs = separator in cell or '"' in cell or (separator == " " and (not cell or "\u00a0" in cell))
    return f'"{cell}"' if needs else cell


def table_file(rng: np.random.Generator) -> TableFile:
    """Write a file at random."""
    n, d = int(rng.integers(12, 60)), int(rng.integers(1, 5))
    separator = str(rng.choice([",", ",", ";", ";", "\t", "|", " "]))
    decimal = "," if separator != "," and rng.random() < 0.5 else "."
    header = bool(rng.random() < 0.85)
    names = [str(name) for name in rng.choice(NAMES, d, replace=False)]
    features, columns = {}, []
    for name in names:
        cells, values = feature(rng, n, decimal, separator)
        features[name] = values
        columns.append((name, cells))
    aside: dict[str, list[str]] = {}
    for _ in range(int(rng.integers(0, 3))):
        name, cells = beside(rng, n, header)
        aside.setdefault(name, cells)
    columns += list(aside.items())
    order = rng.permutation(len(columns))
    columns = [columns[at] for at in order]
    spoilt = str(rng.choice(["", "", "", "", "missing", "typo", "ragged", "headed"]))
    # Nobody can tell a slip in the first line of a file without names from a name.
    at = int(rng.integers(0 if header else 1, n))
    lines = [[cells[row] for _, cells in columns] for row in range(n)]
    which = next(j for j, (name, _) in enumerate(columns) if name in features)
    if spoilt == "missing":
        lines[at][which] = str(rng.choice(["", "NA", "NaN"]))
    if spoilt == "typo":
        lines[at][which] = str(rng.choice(["?", "8O", "-", "n/k", "12,,5", "1.2.3"]))
    if spoilt == "ragged":
        lines[at] = [*lines[at], "1"] if rng.random() < 0.5 or len(columns) == 1 else lines[at][:-1]
    if spoilt == "headed":
        lines, header = [], True
    if header:
        lines = [[name for name, _ in columns], *lines]
    text = "\n".join(separator.join(quoted(cell, separator) for cell in line) or '""' for line in lines) + "\n"
    if rng.random() < 0.2:
        text = text.replace("\n", "\r\n")
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        content = text.encode("utf-8")
    packed = rng.random() < 0.1
    ending = str(rng.choice([".csv", ".txt"])) if separator != "\t" else str(rng.choice([".csv", ".tsv", ".txt"]))
    kept = {name: features[name] for name, _ in columns if name in features}
    about = {"separator": separator, "decimal": decimal, "encoding": encoding, "missing_at": at}
    return TableFile(
        gzip.compress(content) if packed else content, ending + ".gz" * packed, kept, list(aside), header, spoilt,
        about=about,
    )  # fmt: skip
