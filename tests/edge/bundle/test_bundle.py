import hashlib
import shutil

import pytest

from cxr_edge.bundle.bundle import DEFAULT, Bundle, write_manifest
from cxr_edge.errors import BundleError
from cxr_edge.runtime.sessions import open_session as load_session
from tiny import manifest_values

FILES = ("manifest.json", "classifier.onnx", "classifier.int8.onnx", "gradcam.onnx", "golden.npz", "MODEL_CARD.md")


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def test_an_untouched_bundle_opens(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    assert {*bundle.manifest.files, "manifest.json"} == set(FILES) == {path.name for path in tiny_bundle.iterdir()}
    assert bundle.digest == hashlib.sha256((tiny_bundle / "manifest.json").read_bytes()).hexdigest()
    assert bundle.path("golden.npz") == tiny_bundle / "golden.npz"
    assert bundle.model("gradcam.onnx") == (tiny_bundle / "gradcam.onnx").read_bytes()
    assert bundle.to_json() == {"name": "tiny", "version": "0.0.1", "sha256": bundle.digest}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_one_changed_byte_in_any_file_is_refused(copy, name, where):
    data = bytearray((copy / name).read_bytes())
    data[min(int(where * len(data)), len(data) - 1)] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.open(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_longer_file_is_refused(copy, name):
    with (copy / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.open(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.open(copy)


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(BundleError, match="no bundle here"):
        Bundle.open(tmp_path / "nowhere")


def test_files_that_the_manifest_does_not_name_are_not_there(copy):
    bundle = Bundle.open(copy)
    for ask in (bundle.path, bundle.model, bundle.network):
        with pytest.raises(BundleError, match=r"no other\.onnx; it has .*gradcam\.onnx"):
            ask("other.onnx")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_the_manifest_does_not_name_is_a_fault(copy, kind):
    other = copy / "other\x1b.onnx"
    {"file": other.touch, "folder": other.mkdir, "link": lambda: other.symlink_to(copy / "gradcam.onnx")}[kind]()
    with pytest.raises(BundleError, match="does not name; remove it") as raised:
        Bundle.open(copy)
    assert raised.value.exit_code == 5
    assert str(raised.value).isprintable()


def test_a_folder_in_a_file_s_place_is_refused(copy):
    (copy / "gradcam.onnx").unlink()
    (copy / "gradcam.onnx").mkdir()
    with pytest.raises(BundleError, match=r"gradcam\.onnx is not a file"):
        Bundle.open(copy)


def test_what_was_hashed_is_what_is_used(copy):
    bundle = Bundle.open(copy)
    hashed = {name: hashlib.sha256(bundle.model(name)).hexdigest() for name in bundle.manifest.files}
    for name in bundle.manifest.files:
        (copy / name).write_bytes(b"changed")
    assert hashed == {name: record.sha256 for name, record in bundle.manifest.files.items()}
    network = bundle.network("gradcam.onnx")
    assert hashlib.sha256(bytes(network.content)).hexdigest() == network.sha256 == hashed["gradcam.onnx"]
    model = load_session(network)
    assert model.provider == "cpu"


def test_any_exception_while_hashing_ends_the_opening(copy, monkeypatch):
    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("cxr_edge.bundle.bundle.hashlib.sha256", fail)
    with pytest.raises(MemoryError):
        Bundle.open(copy)


def test_another_network_in_the_place_of_one_has_its_own_hash(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    other = bundle.with_network("gradcam.onnx", b"other")
    assert other.network("gradcam.onnx").sha256 == hashlib.sha256(b"other").hexdigest()
    assert other.manifest.files["gradcam.onnx"].bytes == 5
    assert bundle.model("gradcam.onnx") != b"other"


def test_an_invalid_manifest_is_not_written(copy):
    before = (copy / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="positive"):
        write_manifest(copy, {**manifest_values(), "positive": "COVID"})
    assert (copy / "manifest.json").read_bytes() == before
    with pytest.raises(BundleError, match="no NaN and no infinity"):
        write_manifest(copy, {**manifest_values(), "later": float("nan")})
    assert (copy / "manifest.json").read_bytes() == before
    assert {path.name for path in copy.iterdir()} == set(FILES)


@pytest.mark.skipif(not DEFAULT.is_dir(), reason="the bundle is not there yet")
def test_the_installed_bundle_opens():
    assert Bundle.open().manifest.positive == "PNEUMONIA"
