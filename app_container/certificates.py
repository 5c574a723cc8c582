"""Whose certificates a driver trusts, and what is wrong with one that it does not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERIFIED = ("neo4j+s", "bolt+s")
"""Schemes of addresses with which the server's certificate and its host name are verified."""

_EXPIRED, _NOT_YET_VALID, _OTHER_HOST, _OTHER_IP = 10, 9, 62, 64  # OpenSSL's X509_V_ERR_...


def fault_of_certificates(path: Path) -> str | None:
    """What is wrong with a file of trusted certificates, as the end of a sentence; None if it can be used."""
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return "holds no certificate as PEM"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def address(uri: str, trusted: Path | None) -> str:
    """The address for the driver, which takes certificates of one's own only with schemes that do not say so.

    Args:
        uri: the configured address.
        trusted: the file of trusted certificates; None: the system's.
    """
    scheme, separator, rest = uri.partition("://")
    return uri if trusted is None else f"{scheme.removesuffix('+s')}{separator}{rest}"


def tls_options(trusted: Path | None) -> dict[str, Any]:
    """The driver's options that go with ``address``; certificates and host names are verified."""
    from neo4j import TrustCustomCAs

    return {} if trusted is None else {"encrypted": True, "trusted_certificates": TrustCustomCAs(str(trusted))}


def why_not_encrypted(uri: str, trusted: Path | None, error: BaseException) -> str | None:
    """What is wrong with the server's certificate, or with a connection without one, and the fix.

    Args:
        uri: the configured address.
        trusted: the file of trusted certificates; None: the system's.
        error: what the driver raised.

    Returns:
        The end of a sentence about the server; None if ``error`` is not about that.
    """
    for each in _all_in(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _why_refused(trusted, each)
        if "incomplete handshake" in str(each) and "+s" not in uri.partition("://")[0]:
            return "closes connections that are not encrypted; set NEO4J_URI to bolt+s://... or neo4j+s://..."
    return None


def _why_refused(trusted: Path | None, error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message.rstrip(".")
    if error.verify_code in (_OTHER_HOST, _OTHER_IP):
        return f"has a certificate for another host ({reason}); set NEO4J_URI to a host that it is for"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return f"has a certificate that is not valid now ({reason}); renew it, or the CA in NEO4J_TRUSTED_CERTIFICATES"
    whom = "the system trusts" if trusted is None else f"is in {str(trusted)!r}"
    return (
        f"has a certificate that is not from a CA that {whom} ({reason}); "
        "set NEO4J_TRUSTED_CERTIFICATES to a PEM file with its CA"
    )


def _all_in(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it; a routing driver collects what each server answered."""
    following, seen = [error], set[int]()
    while following:
        each = following.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        following += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
        if isinstance(each, BaseExceptionGroup):
            following += each.exceptions
