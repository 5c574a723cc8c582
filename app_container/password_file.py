"""The password in a file, which may change while it is used."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from app_container.masking import hide
from app_container.value_file import ValueFileError, read_value

_log = logging.getLogger("app_container")


class PasswordInFile(SecretStr):
    """A password that is read again when its file has changed.

    While the file cannot be read, or is empty because it is being written, the password is what it was.

    Args:
        file: holds it.
        password: what was read there.
    """

    def __init__(self, file: Path, password: str) -> None:
        super().__init__(password)
        self.file = file
        self._read: tuple[int, int, int] | None = None

    def get_secret_value(self) -> str:
        """The password that the file holds now."""
        with suppress(OSError, ValueFileError):
            found = self.file.stat()
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if version != self._read:
                self._take(read_value(self.file))
                self._read = version
        return self._secret_value

    def read_again(self) -> None:
        """Read it with the next use, even if the file looks as it did."""
        self._read = None

    def _take(self, password: str) -> None:
        if password != self._secret_value:
            hide(password)
            self._secret_value = password
            _log.info("the password in %s has changed; connections are authenticated with the new one", self.file)
