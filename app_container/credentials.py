"""Credentials of drivers whose password is in a file, and may change while they are used.

A driver asks for its credentials with each connection that it opens or takes from its pool. One of the pool that was
authenticated with others is authenticated anew, and stays open. So drivers, and all who hold them, last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neo4j import basic_auth
from neo4j.auth_management import AsyncAuthManager, AuthManager

from app_container.password_file import PasswordInFile

if TYPE_CHECKING:
    from neo4j import Auth
    from neo4j.exceptions import Neo4jError

    from app_container.settings import Neo4jSettings

UNAUTHORIZED = "Neo.ClientError.Security.Unauthorized"
LOCKED = "Neo.ClientError.Security.AuthenticationRateLimit"
"""After several wrong passwords the server looks at no more of them, for some seconds."""

_is_in_file = False


def credentials(settings: Neo4jSettings) -> Auth | AuthManager:
    """What ``GraphDatabase.driver`` takes as ``auth``."""
    found = _Credentials(settings)
    return _InFile(found) if found.are_in_file else found.now()


def async_credentials(settings: Neo4jSettings) -> Auth | AsyncAuthManager:
    """What ``AsyncGraphDatabase.driver`` takes as ``auth``."""
    found = _Credentials(settings)
    return _AsyncInFile(found) if found.are_in_file else found.now()


def refusal_passes(code: str | None) -> bool:
    """Whether the server refused credentials that may be right soon.

    The password is changed in the server and in its file, one after the other, so in between it is wrong.

    Args:
        code: of the server's error.
    """
    return _is_in_file and code in (UNAUTHORIZED, LOCKED)


class _Credentials:
    def __init__(self, settings: Neo4jSettings) -> None:
        global _is_in_file  # noqa: PLW0603 - an error does not tell which driver of the process it came from
        self._username = settings.username
        self._password = settings.password
        self.are_in_file = isinstance(settings.password, PasswordInFile)
        _is_in_file |= self.are_in_file

    def now(self) -> Auth:
        return basic_auth(self._username, self._password.get_secret_value())

    def refused(self, error: Neo4jError) -> bool:
        """Whether the driver shall try again, with what the file holds then."""
        if isinstance(self._password, PasswordInFile):
            self._password.read_again()
        return refusal_passes(error.code)


class _InFile(AuthManager):
    def __init__(self, found: _Credentials) -> None:
        self._found = found

    def get_auth(self) -> Auth:
        return self._found.now()

    def handle_security_exception(self, auth: Any, error: Neo4jError) -> bool:  # noqa: ARG002 - the driver's signature
        return self._found.refused(error)


class _AsyncInFile(AsyncAuthManager):
    def __init__(self, found: _Credentials) -> None:
        self._found = found

    async def get_auth(self) -> Auth:
        return self._found.now()

    async def handle_security_exception(self, auth: Any, error: Neo4jError) -> bool:  # noqa: ARG002 - the driver's
        return self._found.refused(error)
