"""Tables in text files: their bytes decoded, cut into cells, and refused where a row has too many."""

# Functions of pyarrow.compute are made when it is imported.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bayesgmm.data.layout import Layout, cells_of, layout_of
from bayesgmm.data.names import shown
from bayesgmm.data.numerals import NEARLY_ALL, matching, number_pattern, trimmed
from bayesgmm.data.options import WORDS, Reading
from bayesgmm.errors import DataError

#: Letters that no table in text has.
CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")
#: A smaller share of cells may be slips.
SLIPS = 0.1
GZIP = b"\x1f\x8b"
#: How a text begins that says how it is encoded.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True, slots=True)
class TextTable:
    """The cells of a text file.

    Attributes
    ----------
    names : tuple of str
        Of the columns; made up where the file has none.
    columns : tuple of array (n,)
        Text, missing cells null.
    decimal : str
        Decimal mark.
    named : bool
        Whether the file names its columns.
    said : tuple of str
        What was recognised and is not as in most files.
    """

    names: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    decimal: str
    named: bool
    said: tuple[str, ...]


def text_table(content: bytes, reading: Reading, name: str, separator: str | None = None) -> TextTable:
    """Cut a text file into cells.

    Parameters
    ----------
    content : bytes
        Of the file, compressed or not.
    reading : Reading
        What the user decided.
    name : str
        Of the file, as it is quoted in a sentence.
    separator : str, optional
        What the end of the file's name says.

    Raises
    ------
    DataError
        If it is no table, or one of which nobody can say how it is written.
    """
    text, encoding = decoded(unpacked(content, name), reading, name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not text.strip():
        raise DataError(f"{name} is empty: give a file with at least one row and one column")
    if text[:4].lower() == "sep=" and text[5:6] == "\n":
        separator, text = text[4], text[6:]
    layout = layout_of(text, _with(reading, separator), name)
    columns = _columns(text, layout, reading, name)
    names = tuple(f"x{j}" for j in range(layout.width))
    if layout.header:
        names = tuple(_name(column[0].as_py(), j) for j, column in enumerate(columns))
        columns = [column.slice(1) for column in columns]
    if not len(columns[0]):
        raise DataError(f"{name} has no rows: it has the columns {', '.join(map(repr, names))} alone")
    cells = tuple(map(trimmed, columns))
    decimal = reading.decimal or _decimal(dict(zip(names, cells, strict=True)), layout, reading, name)
    said = _said(layout, decimal, encoding, _with(reading, separator))
    return TextTable(names, cells, decimal, layout.header, said)


def _with(reading: Reading, separator: str | None) -> Reading:
    return reading if reading.separator or separator is None else replace(reading, separator=separator)


def _name(cell: str, at: int) -> str:
    """Return the name of a column; one that has none is called as pandas calls it."""
    return cell.strip() or f"Unnamed: {at}"


def unpacked(content: bytes, name: str) -> bytes:
    """Return what a gzip file holds, or the same bytes if it is none."""
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is a damaged gzip file ({error}); write it again") from error


def decoded(content: bytes, reading: Reading, name: str) -> tuple[str, str]:
    """Return the text of a file, and its encoding where that is neither UTF-8 nor said by the file."""
    found, named = reading.encoding, ""
    if found is None:
        found = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), None)
    if found is None and content[:200].count(0) > len(content[:200]) / 4:
        found = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        text = content.decode(found or "utf-8")
    except LookupError as error:
        raise DataError(f"{reading.option('encoding')} names no encoding: {found!r}") from error
    except UnicodeDecodeError as error:
        if found is not None:
            raise DataError(f"{name} is not encoded as {found} ({error}); give {reading.option('encoding')}") from error
        text, named = content.decode("latin-1"), "Latin-1"
    control = CONTROL.search(text)
    if control:
        raise DataError(f"{name} is no text: it holds bytes such as {control[0]!r}; give a file of text")
    return text, named


def _columns(text: str, layout: Layout, reading: Reading, name: str) -> list[pa.Array]:
    """Return the cells of every column, those of the first line among them."""
    from pyarrow import csv as arrow

    separator = layout.separator
    if separator == " ":
        separator, text = "\t", _tabbed(text)
    elif not separator:
        separator = "\x1f"
    elif f'{separator} "' in text:
        text = text.replace(f'{separator} "', f'{separator}"')
    names = [str(j) for j in range(layout.width)]
    bad: list[Any] = []

    def first_bad(row: Any) -> str:
        bad.append(row)
        return "error"

    try:
        table = arrow.read_csv(
            io.BytesIO(text.encode("utf-8", errors="replace")),
            read_options=arrow.ReadOptions(column_names=names, use_threads=False, block_size=1 << 24),
            parse_options=arrow.ParseOptions(
                delimiter=separator,
                newlines_in_values='"' in text,
                invalid_row_handler=first_bad,
                ignore_empty_lines=layout.width > 1,
            ),
            convert_options=arrow.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False, null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(_ragged(bad[0], text, layout, reading, name) if bad else f"{name}: {error}") from error
    columns = [column.combine_chunks() for column in table.columns]
    if text.count('"') % 2 and any("\n" in column[-1].as_py() for column in columns):
        raise DataError(f"{name} has a quotation mark that is not closed: {shown(columns[-1][-1].as_py())}")
    return columns


def _tabbed(text: str) -> str:
    """Return the text with a tab for each run of blanks."""
    written = io.StringIO()
    csv.writer(written, delimiter="\t", lineterminator="\n").writerows(cells_of(text, " "))
    return written.getvalue()


def _ragged(bad: Any, text: str, layout: Layout, reading: Reading, name: str) -> str:
    """Return the sentence that refuses a row whose number of cells is not that of the first line."""
    lines = [at for at, line in enumerate(text.split("\n"), 1) if line.strip()]
    line = f"line {lines[bad.number - 1]}" if '"' not in text and bad.number <= len(lines) else f"line {bad.number}"
    row = f" (row {bad.number - 1 - layout.header})" if bad.number > layout.header else ""
    first = "the header" if layout.header else "the first line"
    more = bad.actual_columns > bad.expected_columns
    commas = more and layout.separator == ","
    advice = f"mend it, or give another {reading.option('separator')}"
    if bad.actual_columns == bad.expected_columns + 1:
        advice = f"{advice}; if the first cell names the row, give it a name in the header"
    elif commas:
        advice = f"if commas are decimal marks, put ; between columns and give {reading.option('decimal')} ,"
    return (
        f"{name} has {bad.actual_columns} cells in {line}{row} where {first} has {bad.expected_columns}: "
        f"{shown(bad.text)}; {advice}"
    )


def _decimal(cells: dict[str, pa.Array], layout: Layout, reading: Reading, name: str) -> str:
    """Return the decimal mark: the one under which more cells of some column are numbers."""
    leaning: dict[str, tuple[float, str]] = {}
    doubtful = ""
    for column, text in cells.items():
        some = int(pc.sum(pc.match_substring_regex(text, r"\d*[.,]\d")).as_py() or 0)
        if not some:
            continue
        present, dots, commas = len(text) - text.null_count, matching(text, "."), matching(text, ",")
        if max(dots, commas) < NEARLY_ALL * present:
            continue
        if dots == commas:
            doubtful = doubtful or (column if len(_marked(text)) else "")
        else:
            mark = "," if commas > dots else "."
            leaning[mark] = max(leaning.get(mark, (0.0, "")), (abs(dots - commas) / present, column))
    # A few cells of another mark than all others are slips, which their column names.
    marks = [mark for mark, (share, _) in leaning.items() if share >= SLIPS] or list(leaning)
    if len(marks) == 2:
        raise DataError(
            f"{name} has decimal commas in column {leaning[','][1]!r} and decimal points in column "
            f"{leaning['.'][1]!r}; say which with {reading.option('decimal')}"
        )
    if marks:
        return marks[0]
    if doubtful and _leaves_doubt(cells[doubtful], layout):
        cell = _marked(cells[doubtful])[0].as_py()
        raise DataError(
            f"{name} has {shown(cell)} in column {doubtful!r}, whose mark may be of decimals or of thousands; "
            f"say which with {reading.option('decimal')}"
        )
    return "."


def _marked(text: pa.Array) -> pa.Array:
    """Return the numbers that have a point or comma."""
    numbers = text.filter(pc.match_substring_regex(text, number_pattern(".")))
    return numbers.filter(pc.match_substring_regex(numbers, "[.,]"))


def _leaves_doubt(text: pa.Array, layout: Layout) -> bool:
    """Return whether a mark before three digits may be of decimals or thousands, by what separates the columns."""
    has_comma = bool(pc.any(pc.match_substring(text, ",")).as_py())
    return layout.separator == ";" or (layout.separator != "," and has_comma)


def _said(layout: Layout, decimal: str, encoding: str, reading: Reading) -> tuple[str, ...]:
    """Return what was recognised, where it was not decided and is not as in most files."""
    separator = reading.separator is None and layout.separator not in (",", "")
    found = [f"{WORDS[layout.separator]} between columns"] if separator else []
    found += ["decimal commas"] if decimal == "," and reading.decimal is None else []
    found += ["in Latin-1, for it is not UTF-8"] if encoding else []
    said = [f"was read with {' and '.join(found)}"] if found else []
    if not layout.header and reading.header is None:
        said.append("has no line of names: its first line is numbers, and was read as a row")
    return tuple(said)
