"""What the listener shows to whoever connects over TLS."""

import ssl

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.effective import TlsSettings


def listening(tls: TlsSettings | None) -> ssl.SSLContext | None:
    """Raises MisconfiguredError when the files are no certificate with its key."""
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.client_ca_file) if tls.client_ca_file else None)
        if tls.client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as e:  # SSLError is one
        raise MisconfiguredError(f"no certificate with its key: {e.strerror or e}", path=str(tls.cert_file)) from e
    return context
