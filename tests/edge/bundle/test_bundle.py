import hashlib
import shutil

import pytest

from cxr_edge.bundle.bundle import DEFAULT, Bundle, write_manifest
from cxr_edge.errors import BundleError
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
    (copy / "other.onnx").write_bytes(b"x")
    bundle = Bundle.open(copy)
    for ask in (bundle.path, bundle.model):
        with pytest.raises(BundleError, match=r"no other\.onnx; it has .*gradcam\.onnx"):
            ask("other.onnx")


def test_a_network_that_changes_after_the_check_is_not_used(copy):
    bundle = Bundle.open(copy)
    with (copy / "gradcam.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"gradcam\.onnx was changed after the bundle was opened"):
        bundle.model("gradcam.onnx")
    (copy / "classifier.onnx").unlink()
    with pytest.raises(BundleError, match=r"classifier\.onnx cannot be read any more"):
        bundle.model("classifier.onnx")


def test_an_invalid_manifest_is_not_written(copy):
    before = (copy / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="positive"):
        write_manifest(copy, {**manifest_values(), "positive": "COVID"})
    assert (copy / "manifest.json").read_bytes() == before
    assert {path.name for path in copy.iterdir()} == set(FILES)


@pytest.mark.skipif(not DEFAULT.is_dir(), reason="the bundle is not there yet")
def test_the_installed_bundle_opens():
    assert Bundle.open().manifest.positive == "PNEUMONIA"
