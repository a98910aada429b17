"""Who made a bundle: an Ed25519 signature (RFC 8032) of ``manifest.json``, which holds the hashes of all other files.

It lies beside the manifest as ``manifest.json.sig``, 64 bytes; ``openssl pkeyutl -verify -rawin`` can check it, too.
"""

from pathlib import Path
from typing import Any

from cxr_edge.bundle.bundle import MANIFEST, SIGNATURE_FILE, Bundle
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.files import write_atomically


def sign_bundle(bundle: Bundle, key: Path) -> Path:
    """Sign a bundle; an earlier signature is replaced.

    Args:
        bundle: The bundle, checked as it was opened.
        key: An Ed25519 private key without a password (PEM, PKCS 8).

    Returns:
        The file of the signature.

    Raises:
        UsageError: The key cannot be read or is of another kind; or cryptography is not installed.
        OSError: The signature cannot be written.
    """
    path = bundle.folder / SIGNATURE_FILE
    write_atomically(path, _read_key(key, private=True).sign((bundle.folder / MANIFEST).read_bytes()))
    return path


def check_signature(bundle: Bundle, key: Path) -> None:
    """Check that the owner of a key signed a bundle.

    Args:
        bundle: The bundle.
        key: The Ed25519 public key (PEM, SubjectPublicKeyInfo).

    Raises:
        BundleError: There is no signature, or another key or another manifest was signed.
        UsageError: As for `sign_bundle`.
    """
    public = _read_key(key, private=False)
    from cryptography.exceptions import InvalidSignature

    cure = "take a bundle from who signs it, or have it signed with cxr-export sign"
    try:
        signature = (bundle.folder / SIGNATURE_FILE).read_bytes()
    except OSError as error:
        raise BundleError(
            f"has no signature (its {SIGNATURE_FILE} cannot be read)", cure=cure, path=bundle.folder
        ) from error
    try:
        public.verify(signature, (bundle.folder / MANIFEST).read_bytes())
    except InvalidSignature as error:
        raise BundleError(f"is not signed by the owner of {key}", cure=cure, path=bundle.folder) from error


def _read_key(path: Path, *, private: bool) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError as error:
        raise UsageError("signatures need cryptography", cure="run pip install 'cxr-edge[sign]'") from error
    kind = "private" if private else "public"
    make = (
        "openssl genpkey -algorithm ed25519 -out key.pem"
        if private
        else "openssl pkey -in key.pem -pubout -out public.pem"
    )
    try:
        data = path.read_bytes()
        key: object = load_pem_private_key(data, None) if private else load_pem_public_key(data)
    except OSError as error:
        raise UsageError(f"the key cannot be read ({error.strerror})", cure=f"make one: {make}", path=path) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"no {kind} key in PEM without a password", cure=f"make one: {make}", path=path) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise UsageError(f"no Ed25519 {kind} key", cure=f"make one: {make}", path=path)
    return key
