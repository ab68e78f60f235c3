"""TLS: the certificates that are trusted, and what is wrong with one that is not."""

from __future__ import annotations

import ssl

from raysplit.errors import ConfigError

_SELF_SIGNED, _SELF_SIGNED_CHAIN, _NO_ISSUER, _NO_LEAF_ISSUER = 18, 19, 20, 21
_NOT_YET_VALID, _EXPIRED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 62, 64
"""Codes of OpenSSL (X509_V_ERR_…)."""
_UNKNOWN_ISSUER = "trust it with --ca FILE (or ca=FILE), the PEM file of the authority that signed it"
_REASONS = {
    _SELF_SIGNED: "its certificate is self-signed; trust it with --ca FILE (or ca=FILE), its own PEM file",
    _SELF_SIGNED_CHAIN: f"its certificate is signed by an authority that is not known here; {_UNKNOWN_ISSUER}",
    _NO_ISSUER: f"its certificate is signed by an authority that is not known here; {_UNKNOWN_ISSUER}",
    _NO_LEAF_ISSUER: f"its certificate is signed by an authority that is not known here; {_UNKNOWN_ISSUER}",
    _NOT_YET_VALID: "its certificate is not valid yet; check this machine's clock",
    _EXPIRED: "its certificate has expired; renew it on the server, and check this machine's clock",
    _WRONG_HOST: "its certificate is for another host; use the name in the certificate in the URL",
    _WRONG_ADDRESS: "its certificate does not hold this address; use the name in the certificate in the URL",
}


def create_context(ca: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in the PEM file `ca`, or those of this machine if it is None.

    Raises ConfigError if the file cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise ConfigError(
            f"--ca: '{ca}' holds no certificate; give a PEM file that begins with BEGIN CERTIFICATE"
        ) from None
    except OSError as err:
        raise ConfigError(f"--ca: '{ca}' cannot be read ({err.strerror}); give the PEM file of an authority") from None


def describe_tls_error(err: ssl.SSLError) -> str:
    """Return what is wrong with a connection, and the remedy, to go after the server's URL.

    >>> describe_tls_error(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"))
    'does not speak TLS; use http:// in the URL, or the port of the server that does'
    """
    if isinstance(err, ssl.SSLCertVerificationError):
        reason = _REASONS.get(err.verify_code, f"its certificate is not valid: {err.verify_message}")
        return f"is not trusted: {reason}"
    if "WRONG_VERSION_NUMBER" in str(err) or "HTTP_REQUEST" in str(err):
        return "does not speak TLS; use http:// in the URL, or the port of the server that does"
    return f"and this machine do not agree on TLS ({err.reason or err}); check the server's TLS settings"
