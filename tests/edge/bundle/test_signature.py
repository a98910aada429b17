import shutil
import subprocess

import pytest

pytest.importorskip("cryptography", reason="the extra sign is not installed")
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

from cxr_edge.bundle.bundle import MANIFEST, SIGNATURE_FILE, Bundle
from cxr_edge.bundle.signature import check_signature, sign_bundle
from cxr_edge.errors import BundleError, UsageError


def write_keys(folder, name, key):
    private, public = folder / f"{name}.pem", folder / f"{name}.public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def bundle(tmp_path, tiny_bundle):
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path, "ours", ed25519.Ed25519PrivateKey.generate())


def test_signed_and_checked_by_the_commands(bundle, keys):
    from cxr_edge.cli import app
    from cxr_export.cli import app as export

    private, public = keys
    command = ["verify", "--bundle", str(bundle), "--require-signature", str(public)]
    with pytest.raises(BundleError, match="has no signature"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    done = CliRunner().invoke(export, ["sign", str(bundle), "--key", str(private)], catch_exceptions=False)
    assert done.exit_code == 0
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert Bundle.open(bundle).digest  # a signed bundle is opened as any other


def test_another_key_and_another_manifest_are_refused(bundle, keys, tmp_path):
    private, public = keys
    _, other = write_keys(tmp_path, "other", ed25519.Ed25519PrivateKey.generate())
    sign_bundle(Bundle.open(bundle), private)
    check_signature(Bundle.open(bundle), public)
    with pytest.raises(BundleError, match="is not signed by the owner of"):
        check_signature(Bundle.open(bundle), other)
    manifest = bundle / MANIFEST
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(BundleError, match="is not signed by the owner of"):
        check_signature(Bundle.open(bundle), public)


def test_what_is_no_key_says_how_one_is_made(bundle, keys, tmp_path):
    _, public = keys
    opened = Bundle.open(bundle)
    with pytest.raises(UsageError, match=r"no private key in PEM.*openssl genpkey"):
        sign_bundle(opened, public)
    with pytest.raises(UsageError, match="cannot be read"):
        sign_bundle(opened, tmp_path / "missing.pem")
    curve, _ = write_keys(tmp_path, "curve", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UsageError, match="no Ed25519 private key"):
        sign_bundle(opened, curve)
    assert not (bundle / SIGNATURE_FILE).exists()


def test_openssl_agrees(bundle, keys):
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    private, public = keys
    signature = sign_bundle(Bundle.open(bundle), private)
    check = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", bundle / MANIFEST]
    done = subprocess.run([*check, "-sigfile", signature], capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr
