"""Files that a command writes: for their owner's eyes, whole or not at all, and only where their path says."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_private(path: Path, text: str, root: Path | None = None) -> None:
    """Write a file that only its owner may read, and the folders above it. Raises OSError where that fails.

    What was there is replaced at once, or stays as it was. No symbolic link is followed: the file itself must be none,
    nor may the folders between it and `root`. A device or a pipe is written to as it is.
    """
    folders = path.parents[: len(path.parent.relative_to(root).parts)] if root is not None else ()
    for one in (path, *folders):
        if one.is_symlink():
            name = "it" if one == path else str(one)
            raise OSError(0, f"{name} is a symbolic link, which is not followed: remove it, or name what it leads to")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8")
    if path.exists() and not path.is_file():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW), "wb") as file:
            file.write(data)
        return
    # It is made with 0600, in the same folder, so that it can take the place of the other, a link made meanwhile too.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of this name, also of a text that can be no name."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def json_text(value: Any) -> str:
    """JSON for people, in which nothing steers a terminal and everything can be encoded. Letters stay as they are."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(one if one == "\n" or one.isprintable() else json.dumps(one)[1:-1] for one in text) + "\n"
