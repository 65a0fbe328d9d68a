"""The layout of a text file: what stands between its cells, and whether its first line names the columns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from bayesgmm.data.names import shown
from bayesgmm.data.numerals import DATES, NEARLY_ALL, number_pattern
from bayesgmm.data.options import Reading
from bayesgmm.errors import DataError

#: Lines, and letters, by which the layout is recognised.
LINES, LETTERS = 300, 200_000
#: A separator fits if so many lines have as many cells as the first.
FITTING = 0.8
CANDIDATES = (",", ";", "\t", "|", " ")
NUMBER = re.compile("|".join(f"(?:{re.sub(r'[?]P<[a-z]+>', '?:', number_pattern(mark))})" for mark in ".,"))
COMMA = re.compile(number_pattern(","))
TYPED = re.compile(f"{NUMBER.pattern}|{DATES}")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text file is written.

    Attributes
    ----------
    separator : str
        Between cells; empty where there is one column.
    width : int
        Number of cells in the first line.
    header : bool
        Whether the first line names the columns.
    """

    separator: str
    width: int
    header: bool


def layout_of(text: str, reading: Reading, name: str) -> Layout:
    """Return the layout of a text file.

    Raises
    ------
    DataError
        If the first line may be names or a row.
    """
    sample = _sample(text)
    separator = _separator(sample, reading, name) if reading.separator is None else reading.separator
    lines = cells_of(sample, separator)
    header = _has_header(lines, reading, name) if reading.header is None else reading.header
    return Layout(separator, len(lines[0]), header)


def cells_of(text: str, separator: str) -> list[list[str]]:
    """Return the cells of every line that has one; runs of blanks are one separator."""
    if not separator:
        return [[line.strip().strip('"')] for line in text.split("\n") if line.strip()]
    if separator == " ":
        text = "\n".join(line.strip() for line in text.replace("\t", " ").split("\n"))
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"`data` cannot be read as a table of text ({error})") from error


def _sample(text: str) -> str:
    """Return the first lines of a text, whole ones if there is more than one."""
    sample = text[:LETTERS]
    if len(sample) < len(text):
        sample = sample.rpartition("\n")[0] or sample
    return "\n".join(sample.split("\n")[:LINES])


def _separator(sample: str, reading: Reading, name: str) -> str:
    """Return the separator under which lines have as many cells as the first, and cells are numbers or dates."""
    candidates = [separator for separator in CANDIDATES if separator != reading.decimal]
    split = {separator: cells_of(sample, separator) for separator in candidates}
    scores = {separator: _fit(rows, separator) for separator, rows in split.items() if rows and len(rows[0]) > 1}
    fitting = {separator: score for separator, score in scores.items() if score[0]}
    lines = [row[0] for row in cells_of(sample, "")]
    if set(fitting) == {" "}:
        return _blank_or_none(lines, fitting[" "][1], reading, name)
    if not fitting:
        # Rows may all have one cell more than the header: that is refused by row.
        blanks = " " in scores and len(set(map(len, split[" "][1:]))) == 1 and len(split[" "][1]) > 1
        named = [separator for separator in scores if separator != " " or blanks]
        return named[0] if named else _separator_of_rows(lines[1:])
    best = max(fitting, key=lambda separator: fitting[separator])
    if best == "," and reading.decimal is None and all(COMMA.fullmatch(line) for line in lines):
        raise DataError(
            f"{name} has {shown(lines[0])}, which may be two cells or a number with a decimal comma; say which with "
            f"{reading.option('separator')} , or {reading.option('decimal')} ,"
        )
    return best


def _fit(rows: list[list[str]], separator: str) -> tuple[bool, float, float, int, float]:
    """Return how well a separator fits; first whether most lines have as many cells as the first."""
    share = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    cells = [cell for row in rows[1:] for cell in row if cell]
    others = [cell for cell in cells if not TYPED.fullmatch(cell)]
    uncut = sum(any(mark in cell for mark in CANDIDATES[:-1] if mark != separator) for cell in others)
    number = max(len(cells), 1)
    return share >= FITTING, 1 - len(others) / number, -uncut / number, len(rows[0]), share


def _blank_or_none(lines: list[str], typed: float, reading: Reading, name: str) -> str:
    """Return whether blanks separate cells, or stand within those of one column."""
    within = sum(TYPED.fullmatch(line) is not None for line in lines[1:]) / max(len(lines) - 1, 1)
    if within == typed > 0:
        raise DataError(
            f"{name} has {shown(lines[1])}, which may be two cells or one number; say which with "
            f"{reading.option('separator')} blanks or {reading.option('separator')} ;"
        )
    return "" if within > typed else " "


def _separator_of_rows(lines: list[str]) -> str:
    """Return what separates the rows of a file whose first line has one name; nothing if they are one column."""
    commas = sum("," in line for line in lines)
    if 0 < commas < len(lines) / 2:
        # Decimal commas are in most cells of a column.
        return ","
    for separator in CANDIDATES[:-1]:
        split = [line for line in lines if separator in line and not NUMBER.match(line)]
        if len(split) >= NEARLY_ALL * len(lines) > 0 and len(cells_of("\n".join(lines), separator)[0]) > 1:
            return separator
    return ""


def _has_header(lines: list[list[str]], reading: Reading, name: str) -> bool:
    """Return whether the first line names the columns: whether it differs from a row."""
    first, rows = lines[0], [row for row in lines[1:] if len(row) == len(lines[0])]
    columns = [[row[j] for row in rows if row[j]] for j in range(len(first))]
    numeric = [bool(c) and sum(NUMBER.match(v) is not None for v in c) >= NEARLY_ALL * len(c) for c in columns]
    if not rows or not any(numeric):
        return not all(NUMBER.match(cell) for cell in first)
    over_numbers = [cell for cell, counts in zip(first, numeric, strict=True) if counts and cell]
    if not over_numbers or not all(NUMBER.match(cell) for cell in over_numbers):
        if any(NUMBER.match(cell) and not cell.isdigit() for cell in over_numbers) or not any(map(_has_letter, first)):
            raise _names_or_row(first, reading, name)
        return True
    if all(cell == "" for cell, counts in zip(first, numeric, strict=True) if not counts):
        return _are_numbers_names(first, over_numbers, columns)
    return _names_among_text(first, columns, numeric, reading, name)


def _are_numbers_names(first: list[str], over_numbers: list[str], columns: list[list[str]]) -> bool:
    """Return whether a first line of numbers is names: counted ones, or whole ones beside numbers of the rows."""
    counted = [[str(j + start) for j in range(len(over_numbers))] for start in (0, 1)]
    if over_numbers in counted:
        return True
    index = columns[0]
    numbered = [[str(j + start) for j in range(len(index))] for start in (0, 1)]
    return first[0] == "" and index in numbered and all(re.fullmatch(r"\d+", cell) for cell in over_numbers)


def _names_among_text(
    first: list[str], columns: list[list[str]], numeric: list[bool], reading: Reading, name: str
) -> bool:
    """Return whether a first line of numbers and text is names, such as years; or say that nobody can know."""
    texts = [(cell, column) for cell, column, counts in zip(first, columns, numeric, strict=True) if not counts]
    numbers = [cell for cell, counts in zip(first, numeric, strict=True) if counts]
    if any(cell in column or re.fullmatch(DATES, cell) for cell, column in texts):
        return False
    if any(not re.fullmatch(r"\d+", cell) for cell in numbers):
        return False
    if all(cell == "" for cell, _ in texts):
        return True
    raise _names_or_row(first, reading, name)


def _has_letter(cell: str) -> bool:
    return any(letter.isalnum() for letter in cell)


def _names_or_row(first: list[str], reading: Reading, name: str) -> DataError:
    """Return the refusal of a first line of which nobody can say what it is."""
    return DataError(
        f"{name} begins with {shown(', '.join(first))}, which may be names of columns or a row; say which: "
        + ("--header or --no-header" if reading.door == "terminal" else "`header=True` or `header=False`")
    )
