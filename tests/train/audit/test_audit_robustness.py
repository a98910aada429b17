import cv2
import numpy as np
import pytest
from made_up import flat, setting_of

from cxr_train.audit.record import BARS, plain
from cxr_train.audit.robustness import (
    hide_lungs,
    lungs_hidden,
    mark,
    marker_like,
    outside_replaced,
    probe,
    variations,
)

LEVELS = (60, 90, 100, 110, 119, 121, 150, 200)


def mask_of(*boxes):
    masks = np.zeros((len(boxes), 224, 224), np.uint8)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 255
    return masks


@pytest.fixture(scope="module")
def outcomes(brightness):
    setting = setting_of(brightness, flat(*LEVELS), [0, 0, 0, 0, 0, 1, 1, 1])
    return {each.name: each for each in probe(setting)}


def test_a_bundle_that_follows_brightness_is_flagged_by_gamma_and_flips_are_counted_exactly(outcomes):
    for exponent in (0.7, 1.4):
        became = [255 * (level / 255) ** exponent > 120 for level in LEVELS]
        flips = sum(was != now for was, now in zip([level > 120 for level in LEVELS], became, strict=True))
        assert flips > 0
        found = outcomes[f"gamma {exponent}"]
        assert found.flips.value == flips / len(LEVELS)
        assert (found.to_positive > 0, found.to_negative > 0) == (exponent < 1, exponent > 1)
        assert found.images == len(LEVELS)
    bar = next(bar for bar in BARS if "gamma" in bar.what)
    worst = bar.read({"probes": plain(list(outcomes.values()))})
    assert worst == max(outcomes["gamma 0.7"].flips.value, outcomes["gamma 1.4"].flips.value)
    assert bar.met(worst) is False


def test_what_leaves_the_mean_alone_flips_nothing(outcomes):
    for name in ("mirrored", "blur", "down-up", "shift 8 px", "rotation 5 degrees", "JPEG quality 30"):
        assert outcomes[name].flips.value == outcomes[name].flips.low == 0
        assert outcomes[name].flips.high == pytest.approx(0.3244, abs=1e-4)  # none of eight patients, by Wilson
        assert outcomes[name].moved.value < 0.5


def test_a_change_is_counted_by_class_and_by_operating_point(outcomes):
    found = outcomes["border"]  # black: takes a quarter of the brightness away
    assert found.flips_in["NORMAL"] == 0
    assert found.flips_in["PNEUMONIA"] == 2 / 3  # 121 and 150 fall below 120, 200 does not
    assert found.flips.value == 2 / 8
    assert found.flips_at["balanced"] == 2 / 8
    assert set(found.flips_at) == {"balanced", "strict"}
    assert found.refused is None


def test_every_probe_of_training_but_the_markers_is_there():
    names = set(variations())
    assert {"border", "corners", "blur", "down-up", "gamma 0.7", "gamma 1.4", "contrast 0.7", "noise 8"} <= names
    assert not any("marker" in name for name in names)
    image = np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    kept = image.copy()
    for name, vary in variations().items():
        changed = vary(image)
        assert (changed.dtype, changed.shape) == (np.uint8, image.shape), name
        assert (changed != image).any(), name
    assert (image == kept).all()


def test_replacing_the_surroundings_keeps_the_lungs_and_takes_the_rest_from_the_other_class():
    pixels, masks = flat(50, 200, 90), mask_of(*[(80, 140, 80, 140)] * 3)
    found = dict(outside_replaced(pixels, masks, np.array([0, 1, 0])))
    assert (found["outside the lungs grey"][:, 0, 0] == 128).all()
    exchanged = found["outside the lungs from the other class"]
    assert exchanged[:, 0, 0].tolist() == [200, 50, 200]
    for copies in found.values():
        assert (copies[:, 80:140, 80:140] == pixels[:, 80:140, 80:140]).all()


def test_hiding_the_lungs_shows_nothing_of_their_outline(around):
    pixels, masks = flat(50, 200), mask_of((80, 140, 80, 140), (80, 140, 80, 140))
    masks[0, 80:100, 80:100] = 0
    hidden = lungs_hidden(pixels, masks)
    assert (hidden[:, 72:148, 72:148] == 128).all()
    assert ((hidden != pixels).sum((1, 2)) == 76**2).all()
    assert hide_lungs(around(pixels, [0, 1])) is None
    assert hide_lungs(around(pixels, [0, 1], masks)).auroc == 1  # the surroundings alone give it away


def test_images_without_a_mask_are_left_out_of_what_needs_one(around):
    masks = mask_of((80, 140, 80, 140), (80, 140, 80, 140), (0, 0, 0, 0))
    masks[2] = 127
    setting = around(flat(50, 200, 210), [0, 1, 1], masks)
    counted = {each.name: each.images for each in probe(setting)}
    assert counted["outside the lungs grey"] == 2
    assert counted["blur"] == 3


def lettered(image, letter="R", place=(12, 36)):
    return cv2.putText(image.copy(), letter, place, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2, cv2.LINE_AA)


def test_a_letter_is_found_and_a_bright_soft_bone_or_a_letter_on_the_lung_is_not():
    image = flat(60)[0]
    nothing = np.zeros_like(image)
    assert not marker_like(image, nothing).any()
    found = marker_like(lettered(image), nothing)
    assert found[12:40, 10:36].sum() == found.sum() > 50
    assert not marker_like(lettered(image), np.full_like(image, 255)).any()
    assert not marker_like(lettered(image, place=(100, 110)), nothing).any()  # far from every border
    bone = image.copy()
    cv2.ellipse(bone, (30, 60), (6, 12), 20, 0, 360, 220, -1)
    assert not marker_like(cv2.GaussianBlur(bone, (0, 0), 4), nothing).any()


def test_pasted_and_erased_letters_flip_what_stands_on_the_edge(around):
    # A letter lifts the second above 120; the others are far from it. The third shows a letter of its own.
    plain = flat(60, 119, 60, 200)
    plain[1, :180] = 120
    plain[2] = lettered(plain[2])
    setting = around(plain, [0, 0, 0, 1])
    found = mark(setting)
    assert len(found.pasted) == 8
    assert len({each.name for each in found.pasted}) == 8
    letters = [each for each in found.pasted if each.name.startswith("R")]
    assert all(each.flips.value == 0.25 and each.to_positive == 0.25 for each in letters)
    assert found.any_flip.value == 0.25
    assert found.found == {"NORMAL": 1, "PNEUMONIA": 0}
    assert found.erased.images == 1
    assert found.erased.flips.value == 0
    assert found.erased.moved.value > 0.1  # the darker without its letter
    assert mark(around(flat(60, 200), [0, 1])).erased is None
