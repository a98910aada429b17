import numpy as np
import pytest

from cxr_edge.errors import UsageError
from cxr_train.dataset import find_samples, hold_out, patient_of, read_images, read_masks, without_straddlers


@pytest.mark.parametrize(
    ("name", "patient", "family"),
    [
        ("person1000_bacteria_2931.jpeg", "person1000_bacteria", "bacteria"),
        ("person1000_virus_1681.jpeg", "person1000_virus", "virus"),
        ("IM-0129-0001.jpeg", "IM-0129", "IM"),
        ("NORMAL2-IM-0588-0001-0002.jpeg", "NORMAL2-IM-0588", "NORMAL2-IM"),
        ("scan 7.png", "scan 7", "other"),
    ],
)
def test_patient_and_family_come_from_the_file_name(name, patient, family):
    assert patient_of(name) == (patient, family)


def test_finds_every_image_with_its_label_and_split(kermany):
    samples = find_samples(kermany)
    assert len(samples) == 28
    assert sum(s.label for s in samples) == 14
    assert {s.split for s in samples} == {"train", "val", "test"}


@pytest.mark.parametrize("missing", ["train", "val/NORMAL"])
def test_a_folder_of_another_layout_is_refused_by_name(kermany_copy, missing):
    folder = kermany_copy / missing
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UsageError, match=missing):
        find_samples(kermany_copy)


def test_an_empty_class_is_refused_by_name(kermany_copy):
    for path in (kermany_copy / "val" / "NORMAL").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"val/NORMAL.*holds no image"):
        find_samples(kermany_copy)


def test_a_patient_or_copy_in_test_is_dropped_from_train(kermany_copy):
    first = min((kermany_copy / "test" / "PNEUMONIA").iterdir())
    patient = first.name.rsplit("_", 1)[0]
    train = kermany_copy / "train" / "PNEUMONIA"
    (train / f"{patient}_9999.jpeg").write_bytes(min(train.iterdir()).read_bytes())
    (train / "person7777_virus_1.jpeg").write_bytes(first.read_bytes())
    samples = find_samples(kermany_copy)
    kept, found = without_straddlers(samples)
    assert len(kept) == len(samples) - 2
    assert {each.reason for each in found} == {"patient", "digest"}
    assert all("train" in str(path) for each in found for path in each.dropped)


def test_nobody_is_on_both_sides_of_the_split(kermany_copy):
    train = kermany_copy / "train" / "NORMAL"
    for path in sorted(train.iterdir()):
        (train / f"{path.stem}-0009.jpeg").write_bytes(path.read_bytes() + b"\0")
        (train / f"IM-9{path.stem[-7:-5]}9-0001.jpeg").write_bytes(path.read_bytes())
    samples = [s for s in find_samples(kermany_copy) if s.split != "test"]
    learned, held = hold_out(samples, fraction=0.4, seed=3)
    assert len(learned) + len(held) == len(samples)
    assert held
    assert not {s.patient for s in learned} & {s.patient for s in held}
    assert not {s.digest for s in learned} & {s.digest for s in held}


def test_an_unreadable_image_is_listed_and_left_out(kermany_copy):
    broken = kermany_copy / "train" / "NORMAL" / "IM-0000-0001.jpeg"
    broken.write_bytes(b"not a jpeg")
    images = read_images([s for s in find_samples(kermany_copy) if s.split == "train"])
    assert [path for path, _ in images.unreadable] == [broken]
    assert images.pixels.shape == (16, 224, 224)
    assert images.pixels.dtype == np.uint8


def test_masks_are_found_by_name_and_unknown_elsewhere(kermany, lungmasks):
    samples = find_samples(kermany)
    masks = read_masks(samples, lungmasks)
    assert set(np.unique(masks)) <= {0, 127, 255}
    assert 0.15 < (masks == 255).mean() < 0.6


def test_a_folder_without_matching_masks_is_refused(kermany, tmp_path):
    with pytest.raises(UsageError, match="no mask matches"):
        read_masks(find_samples(kermany), tmp_path)
