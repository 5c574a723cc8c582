"""A file that holds one value, such as a password: what ``NAME_FILE`` names."""

from __future__ import annotations

from pathlib import Path


class ValueFileError(ValueError):
    """The file gives no value. Nothing of what it holds is told.

    Args:
        found: what is wrong with it.
        fix: what to do.
    """

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(f"{found}; {fix}")
        self.found = found
        self.fix = fix


def read_value(path: Path) -> str:
    """What ``path`` holds, as UTF-8 text, without one line break at its end.

    Raises:
        ValueFileError: it is not there, cannot be read, is not UTF-8 text, or is empty.
    """
    try:
        if not path.is_file():  # a pipe could let the process wait for ever
            found = "is not a file" if path.exists() else "does not exist"
            raise ValueFileError(found, "create it, or name another file")
        text = path.read_bytes().decode()
    except OSError as error:
        raise ValueFileError(f"cannot be read: {error.strerror}", "let the user of this process read it") from None
    except UnicodeDecodeError:
        raise ValueFileError("is not UTF-8 text", "write it as UTF-8") from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise ValueFileError("is empty", "write the value into it")
    return value
