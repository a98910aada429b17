from pathlib import Path

import numpy as np
import pytest

from cxr_edge.errors import UsageError
from cxr_train.dataset import Sample, count_samples, find_samples, patient_of, read_images, read_masks, spread


@pytest.mark.parametrize(
    ("name", "patient", "family"),
    [
        ("person1000_bacteria_2931.jpeg", "person1000_bacteria", "bacteria"),
        ("person1000_virus_1681.jpeg", "person1000_virus", "virus"),
        ("IM-0129-0001.jpeg", "IM-0129", "IM"),
        ("NORMAL2-IM-0588-0001.jpeg", "NORMAL2-IM-0588", "NORMAL2-IM"),
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
    assert count_samples(samples) == {"NORMAL": 14, "PNEUMONIA": 14, "patients": 27}


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


@pytest.mark.parametrize(
    ("normal", "pneumonia", "count", "expected"),
    [(10, 10, 6, (3, 3)), (1, 10, 6, (1, 5)), (10, 1, 6, (5, 1)), (2, 3, 99, (2, 3))],
)
def test_samples_are_spread_evenly_over_both_labels(normal, pneumonia, count, expected):
    samples = [Sample(Path(f"{n}.png"), int(n >= normal), "train", "", "", "") for n in range(normal + pneumonia)]
    chosen = spread(samples, count)
    assert tuple(sum(s.label == label for s in chosen) for label in (0, 1)) == expected
    assert chosen[0] == samples[0]
    assert chosen[-1] == samples[-1]


def test_an_unreadable_image_is_listed_and_left_out(kermany_copy):
    broken = kermany_copy / "train" / "NORMAL" / "IM-0000-0001.jpeg"
    broken.write_bytes(b"not a jpeg")
    images = read_images([s for s in find_samples(kermany_copy) if s.split == "train"])
    assert [path for path, _ in images.unreadable] == [broken]
    assert images.pixels.shape == images.inputs.shape == (16, 224, 224)
    assert (images.pixels.dtype, images.inputs.dtype) == (np.uint8, np.float32)


def test_a_label_without_a_readable_image_is_refused(kermany_copy):
    for path in (kermany_copy / "val" / "NORMAL").iterdir():
        path.write_bytes(b"not a jpeg")
    with pytest.raises(UsageError, match="no readable NORMAL image"):
        read_images(find_samples(kermany_copy, ["val"]))


def test_masks_are_found_by_name_and_unknown_elsewhere(kermany, lungmasks):
    samples = find_samples(kermany)
    masks = read_masks(samples, lungmasks)
    assert set(np.unique(masks)) <= {0, 127, 255}
    assert 0.15 < (masks == 255).mean() < 0.6


def test_a_folder_without_matching_masks_is_refused(kermany, tmp_path):
    with pytest.raises(UsageError, match="no mask matches"):
        read_masks(find_samples(kermany), tmp_path)
