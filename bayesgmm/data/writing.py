"""Files written whole or not at all, and sealed with a checksum."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bayesgmm.errors import LoadError

#: What stands before the checksum.
CHECKSUM = b"\nbayesgmm sha256 "


def write_whole(path: str | os.PathLike[str], write: Callable[[str], Any]) -> None:
    """Let ``write`` make a file or folder beside ``path``, then rename it: nothing is ever half written.

    A file that is there is replaced and keeps its mode, that to which a symbolic link leads too; a folder, a device, a
    pipe or a socket is not.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name!r} into")
    if path.is_dir():
        raise FileExistsError(f"{str(path)!r} exists; give another name, or remove it")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{str(path)!r} is a device, a pipe or a socket, not a file; give another name")
    with tempfile.TemporaryDirectory(suffix=".partial", dir=path.parent) as folder:
        written = Path(folder, path.name)
        write(str(written))
        if path.is_file():
            written.chmod(stat.S_IMODE(path.stat().st_mode))
        written.replace(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text whole, and return its path."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
    return Path(path)


def digest(content: bytes) -> bytes:
    """Return the checksum of bytes."""
    return hashlib.sha256(content).hexdigest().encode()


def check_bytes(content: bytes, *, required: bool = False) -> None:
    """Refuse damage before the HDF5 library, which may hang on it, sees a byte.

    A file that another program has rewritten has no checksum, and is judged by what it holds where none is required.
    """
    at = content.rfind(CHECKSUM)
    if at < 0 and required:
        raise LoadError("it has no checksum")
    if at >= 0 and content[at + len(CHECKSUM) :] != digest(content[:at]):
        raise LoadError("is damaged: its checksum is not that of its bytes")
