import cv2
import numpy as np
from made_up import flat

from cxr_train.audit.markers import mark, marker_like


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
