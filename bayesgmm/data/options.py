"""What the user decided about a table: columns, names of the rows, missing values, how a file is written."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from bayesgmm.arguments import suggested
from bayesgmm.errors import DataError

SEPARATORS = {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " ", "comma": ",", "semicolon": ";"}
#: Separators that are recognised, with the words for them.
WORDS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'", " ": "blanks"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How a table is read; what is not decided is recognised, and said.

    Attributes
    ----------
    columns : tuple of str, or str, optional
        Features; all columns of numbers where not given. In one text they are separated by commas.
    index : str, optional
        Column that names the rows.
    missing : {"refuse", "drop"}
        What becomes of rows with missing values.
    separator : str, optional
        Between the cells of a text file: one character, or "tab" or "blanks".
    decimal : {".", ","}, optional
        Decimal mark of a text file.
    encoding : str, optional
        Of a text file.
    header : bool, optional
        Whether the first line of a text file names the columns.
    of_fit : tuple of str
        Columns that a fit has: nothing else is wanted of the table.
    door : {"python", "terminal"}
        Where the user is: sentences name the options that there are there.
    """

    columns: Any = None
    index: str | None = None
    missing: Literal["refuse", "drop"] = "refuse"
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    of_fit: tuple[str, ...] = ()
    door: Literal["python", "terminal"] = "python"

    def checked(self) -> Self:
        """Return the same, with every value in its plain form, or say which is none.

        Raises
        ------
        DataError
            If one cannot be.
        """
        if self.missing not in ("refuse", "drop"):
            raise DataError(f"{self.option('missing')} has to be refuse or drop, got {self.missing!r}")
        if self.decimal not in (None, ".", ","):
            raise DataError(f"{self.option('decimal')} has to be '.' or ',', got {self.decimal!r}")
        separator = SEPARATORS.get(str(self.separator).lower(), self.separator)
        if separator is not None and (not isinstance(separator, str) or len(separator) != 1 or separator in '"\n\r'):
            raise DataError(
                f"{self.option('separator')} has to be one character, tab or blanks, got {self.separator!r}"
            )
        if separator is not None and separator == self.decimal:
            raise DataError(f"{self.option('separator')} and {self.option('decimal')} are both {separator!r}")
        return replace(self, separator=separator)

    def option(self, name: str) -> str:
        """Return what an option is called where the user is."""
        return f"--{name}" if self.door == "terminal" else f"`{name}`"

    @property
    def is_default(self) -> bool:
        """Whether nothing was decided."""
        return all(getattr(self, field.name) == field.default for field in fields(self) if field.name != "door")

    def wanted(self, names: list[str], source: str) -> tuple[str, ...]:
        """Return the columns that were chosen among those there are; none if nothing was chosen.

        Raises
        ------
        DataError
            If there is no such column, or one is named twice.
        """
        if self.of_fit:
            return self.of_fit
        if self.columns is None:
            return ()
        chosen = named_columns(self.columns, names)
        if not chosen:
            raise DataError(f"{self.option('columns')} names no column; {source} has {short_list(names)}")
        for name in chosen:
            known(name, names, source)
        twice = sorted({name for name in chosen if chosen.count(name) > 1})
        if twice:
            raise DataError(f"{self.option('columns')} cannot be features: {twice[0]!r} is named twice")
        return chosen


def named_columns(columns: Any, names: list[str]) -> tuple[str, ...]:
    """Return columns from a list of names, or from a text of them with commas between."""
    if not isinstance(columns, str):
        if not isinstance(columns, Iterable):
            raise DataError(f"`columns` has to be names of columns, got {columns!r}")
        return tuple(" / ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in columns)
    if columns in names:
        return (columns,)
    parts = next(iter(csv.reader([columns], skipinitialspace=True)), [])
    return tuple(part.strip() for part in parts if part.strip())


def known(name: str, names: list[str], source: str) -> None:
    """Refuse a column that is not there, with the one that may be meant."""
    if name not in names:
        raise DataError(f"{source} has no column {name!r}{suggested(name, names)}; its columns are {short_list(names)}")


def short_list(names: Iterable[str], most: int = 12) -> str:
    """Return names as they may stand in a sentence."""
    listed = [repr(name) if len(name) <= 40 else repr(name[:37] + "...") for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
