"""Each stage of the display pipeline on arrays."""

import numpy as np
import pytest

from cxr_edge.errors import InputError
from cxr_edge.reading.display_parameters import DisplayParameters, Padding, Rescale, Window
from cxr_edge.reading.display_pipeline import (
    display,
    inverted,
    is_padding,
    luma,
    makes_sense,
    rescaled,
    scaled_to_range,
    windowed,
    within_contract,
)

VALUES = np.arange(12, dtype=np.uint16).reshape(3, 4)


def test_every_stage_leaves_its_input_alone():
    values = VALUES.copy()
    values.setflags(write=False)
    pixels = scaled_to_range(values, 0, 11)
    pixels.setflags(write=False)
    rescaled(values, Rescale(2.0, -1.0))
    windowed(values, center=5, width=4, function="SIGMOID")
    inverted(pixels)
    is_padding(values, Padding(3, 4))
    within_contract(pixels)
    shown = display(values, DisplayParameters("MONOCHROME1", 12, padding=Padding(3, 4)))
    assert shown.steps == ("full range 0..11", "MONOCHROME1 inverted", "pixel padding to black")
    np.testing.assert_array_equal(values, VALUES)


def test_rescaling():
    np.testing.assert_array_equal(rescaled(VALUES, Rescale(2.0, -1.0)), VALUES * 2.0 - 1)
    with pytest.raises(InputError, match="not finite"):
        rescaled(VALUES, Rescale(1e308, 0.0))


def test_spreading_holds_the_ends():
    np.testing.assert_allclose(scaled_to_range(VALUES, 2, 6), np.clip((VALUES - 2.0) / 4, 0, 1), atol=1e-6)
    assert (scaled_to_range(np.full((2, 2), 7), 7, 7) == 0).all()
    far = np.array([1e12, 1e12 + 1, 1e12 + 2])
    np.testing.assert_allclose(scaled_to_range(far, 1e12, 1e12 + 2), [0, 0.5, 1])


def test_inversion_and_luma():
    np.testing.assert_array_equal(inverted(np.float32([0, 0.25, 1])), np.float32([1, 0.75, 0]))
    assert luma(np.full((1, 1, 3), 100, np.uint8), white=100)[0, 0] == pytest.approx(1)


def test_padding_that_is_nothing_or_everything_is_none():
    assert is_padding(VALUES, None) is None
    assert is_padding(VALUES, Padding(50, 60)) is None
    assert is_padding(VALUES, Padding(0, 60)) is None
    assert is_padding(VALUES, Padding(2, 3)).sum() == 2


@pytest.mark.parametrize(
    ("window", "sense"),
    [
        (Window(5, 4, "LINEAR"), True),
        (Window(5, 0.5, "LINEAR"), False),
        (Window(5, 0.5, "LINEAR_EXACT"), True),
        (Window(None, 4, "LINEAR"), False),
        (Window(500, 4, "LINEAR"), False),
        (Window(5, -4, "SIGMOID"), False),
    ],
)
def test_a_window_makes_sense_where_it_holds_a_value(window, sense):
    assert makes_sense(window, 0, 11) is sense


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_leaves(wrong):
    pixels = np.float32([[0, wrong], [1, 0.5]])
    with pytest.raises(InputError, match="not finite") as caught:
        within_contract(pixels)
    assert caught.value.kind == "damaged"


def test_what_leaves_is_within_0_and_1_and_said_where_it_was_not():
    np.testing.assert_array_equal(within_contract(np.float32([[-1, 2]])), [[0, 1]])
    color = np.full((4, 4, 3), 200, np.uint8)
    color[0] = 0
    shown = display(color, DisplayParameters("RGB", 6))  # 6 bits of which more are used
    assert (shown.pixels.min(), shown.pixels.max()) == (0, 1)
    assert any("Bits Stored (0028,0101)" in text for text in shown.warnings)
