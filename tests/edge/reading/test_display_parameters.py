"""What a file says about how it is shown, and what is done where that makes no sense."""

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cxr_edge.errors import InputError
from cxr_edge.reading.data_set import Element
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.lookup_table import table_of
from dicoms import VALUES, dataset, groups, item, lut, written

FULL = VALUES / VALUES.max()
SIGNED = VALUES.astype(np.int16) - 2048
RAMP = np.arange(4096)


def shown(image, *syntax):
    radiograph = read_radiograph(written(image, *syntax))
    assert radiograph.pixels.dtype == np.float32
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    return radiograph


def assert_grey(image, expected, *syntax):
    radiograph = shown(image, *syntax)
    np.testing.assert_allclose(radiograph.pixels, expected, atol=2e-4)
    return radiograph


@pytest.mark.parametrize("stated", [8, 10, 14, 16])
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_voi_lut_is_scaled_by_what_its_entries_need(stated, vr):
    radiograph = assert_grey(dataset(VOILUTSequence=lut(RAMP, 0, stated, vr=vr)), VALUES / 4095)
    assert radiograph.source.steps == ("VOI LUT",)
    (warning,) = radiograph.warnings
    assert warning == (
        f"LUTDescriptor (0028,3002) of VOILUTSequence (0028,3010) states {stated} bits, its entries need 12:"
        " these were used."
    )


def test_a_voi_lut_of_the_stated_depth_is_not_warned_about():
    assert assert_grey(dataset(VOILUTSequence=lut(RAMP, 0, 12)), VALUES / 4095).warnings == ()


@pytest.mark.parametrize("stated", [8, 16])
def test_entries_of_a_byte_are_told_by_the_length_of_their_data(stated):
    image = dataset(VOILUTSequence=lut(RAMP // 16, 0, stated, vr="OB"))
    assert_grey(image, VALUES // 16 / 255)


def test_an_odd_number_of_entries_or_too_few_entries_are_read_as_far_as_they_go():
    image = dataset(VOILUTSequence=lut(RAMP // 16, 0, 8, vr="OB", keep=4095))
    image.VOILUTSequence[0].LUTDescriptor[0] = 4095
    assert_grey(image, VALUES // 16 / 255)
    radiograph = shown(dataset(VOILUTSequence=lut(RAMP, 0, 12, vr="OW", keep=2 * 4000)))
    assert radiograph.warnings[0] == (
        "LUTDescriptor (0028,3002) of VOILUTSequence (0028,3010) states 4096 entries, LUTData (0028,3006) has 4000."
    )
    np.testing.assert_allclose(radiograph.pixels, VALUES / 4095, atol=1e-3)


def test_data_of_an_odd_length_are_read_up_to_their_last_word():
    descriptor = Element("US", memoryview(np.array([100, 0, 12], "<u2").tobytes()))
    table = table_of(descriptor, Element("OW", memoryview(np.arange(100, dtype="<u2").tobytes() + b"\7")))
    np.testing.assert_array_equal(table.entries, np.arange(100))
    assert table_of(descriptor, Element("OW", memoryview(b"\7"))) is None
    assert table_of(Element("US", memoryview(b"\1\0\0\0")), Element("OW", memoryview(bytes(200)))) is None


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_luts_of_other_encodings(syntax):
    stored = VALUES.byteswap() if syntax == ExplicitVRBigEndian else VALUES
    assert_grey(dataset(stored, VOILUTSequence=lut(RAMP[::-1], 0, 12)), 1 - VALUES / 4095, syntax)


@pytest.mark.parametrize(("first", "vr"), [(-2048, "SS"), (63488, "US")])
def test_a_negative_first_value_may_be_written_without_its_sign(first, vr):
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        image = dataset(SIGNED, **{keyword: lut(RAMP, first, 12, first_vr=vr)})
        expected = VALUES / 4095 if keyword.startswith("VOI") else FULL
        assert assert_grey(image, expected).warnings == ()


def test_a_first_value_after_rescaling_may_be_written_without_its_sign():
    image = dataset(RescaleSlope=1, RescaleIntercept=-1000, VOILUTSequence=lut(RAMP, 65536 - 1000, 12))
    assert_grey(image, VALUES / 4095)


def test_a_first_value_beyond_the_sign_bit_is_not_negative():
    values = (VALUES // 2 + 40_000).astype(np.uint16)
    assert_grey(dataset(values, bits=16, VOILUTSequence=lut(RAMP, 40_000, 12)), VALUES // 2 / 4095)


@pytest.mark.parametrize("stated", [8, 16])
def test_the_depth_of_a_modality_lut_does_not_matter(stated):
    image = dataset(ModalityLUTSequence=lut(RAMP[::-1], 0, stated), WindowCenter=2048, WindowWidth=4096)
    assert assert_grey(image, 1 - VALUES / 4095).source.steps == ("modality LUT", "window 2048/4096 (LINEAR)")


def empty():
    table = item()
    table.add_new("LUTDescriptor", "US", None)
    table.add_new("LUTData", "US", None)
    return [table]


def without_data():
    (table,) = lut(RAMP, 0, 12)
    del table.LUTData
    return [table]


@pytest.mark.parametrize("nothing", [empty, without_data, lambda: [item()], list])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_sequence_without_a_table_is_no_lut(nothing, keyword):
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "RescaleSlope": 1, "RescaleIntercept": 0}
    image = dataset(**window, **{keyword: nothing()})
    assert assert_grey(image, VALUES / 4095).source.steps == ("window 2048/4096 (LINEAR)",)


def test_the_first_item_with_a_table_is_used():
    assert_grey(dataset(VOILUTSequence=[*empty(), *lut(RAMP, 0, 12)]), VALUES / 4095)


# Rescaling

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.mark.parametrize("slope", ["0", "0.0", "-0", "nan", "inf", "-inf", "1e999", "one"])
def test_a_slope_that_is_none_is_named_and_left_out(slope):
    image = dataset(**WINDOW, RescaleIntercept=0)
    data = written(dataset(**WINDOW, RescaleIntercept=0, RescaleSlope="1.23457"))
    assert written(image) != data
    radiograph = read_radiograph(data.replace(b"1.23457 ", slope.encode().ljust(8)))
    np.testing.assert_allclose(radiograph.pixels, VALUES / 4095, atol=2e-4)
    assert radiograph.warnings[0].startswith("RescaleSlope (0028,1053) is ")
    assert radiograph.source.steps == ("window 2048/4096 (LINEAR)",)


@pytest.mark.parametrize(
    ("slope", "intercept"), [("1e308", "0"), ("-1e308", "0"), ("1e300", "1"), ("1", "1e308"), ("1e40", "0")]
)
@pytest.mark.parametrize("window", [{}, WINDOW])
def test_rescaling_beyond_what_is_finite_is_an_error_of_that_input(slope, intercept, window):
    image = dataset(RescaleSlope=slope, RescaleIntercept=intercept, **window)
    with pytest.raises(InputError, match=r"RescaleSlope \(0028,1053\) .* not finite") as caught:
        read_radiograph(written(image))
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(("slope", "intercept"), [(1e-9, 0), (1e-3, 1e9), (1e20, -1e20), (-2.5, 100)])
def test_any_other_slope_keeps_the_contrast(slope, intercept):
    expected = FULL if slope > 0 else 1 - FULL
    np.testing.assert_allclose(
        shown(dataset(RescaleSlope=slope, RescaleIntercept=intercept)).pixels, expected, atol=1e-3
    )


@pytest.mark.parametrize(
    "window", [("nan", "10"), ("10", "nan"), ("1e308", "1e308"), ("1e308", "1"), ("1", "1e308"), ("-1e308", "inf")]
)
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_no_window_leaves_the_contract(window, function):
    image = dataset(VOILUTFunction=function, WindowCenter="11111111", WindowWidth="22222222")
    data = (
        written(image)
        .replace(b"11111111", window[0].encode().ljust(8))
        .replace(b"22222222", window[1].encode().ljust(8))
    )
    radiograph = read_radiograph(data)
    assert np.isfinite(radiograph.pixels).all()
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    assert radiograph.warnings


def test_empty_window_elements_state_no_window():
    radiograph = shown(dataset((VALUES // 16).astype(np.uint8), bits=8, WindowCenter="", WindowWidth=""))
    assert (radiograph.source.steps, radiograph.warnings) == ((), ())


# Functional groups (PS3.3 C.7.6.16)


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
@pytest.mark.parametrize("at_top", [{}, {"WindowCenter": 1, "WindowWidth": 1}])
def test_window_and_rescale_of_a_single_frame_may_stand_in_its_functional_groups(where, at_top):
    image = dataset(NumberOfFrames=1, **at_top, **{where: groups(500, 1000, 1, -1000)})
    radiograph = shown(image)
    expected = np.clip((VALUES - 1000.0 - 499.5) / 999 + 0.5, 0, 1)
    np.testing.assert_allclose(radiograph.pixels, expected, atol=2e-4)
    assert radiograph.source.steps == ("rescale slope 1, intercept -1000", "window 500/1000 (LINEAR)")


def test_the_groups_of_the_frame_count_more_than_the_shared_ones():
    image = dataset(
        SharedFunctionalGroupsSequence=groups(1, 1, 2, 0), PerFrameFunctionalGroupsSequence=groups(2048, 4096)
    )
    assert shown(image).source.steps == ("rescale slope 2, intercept 0", "window 2048/4096 (LINEAR)")


# Padding


@pytest.mark.parametrize(
    ("value", "limit", "vr"),
    [(-2000, None, "SS"), (63536, None, "US"), (63536, 63540, "US"), (-2000, 63540, "SS"), ("-2000", "-1996", "DS")],
)
def test_padding_of_signed_values_may_be_written_without_its_sign(value, limit, vr):
    values = SIGNED + 300
    values[:, :5] = -2000
    values[:, 5] = -1998
    image = dataset(values)
    image.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        image.add_new("PixelPaddingRangeLimit", "US" if limit == 63540 else vr, limit)
    padded = 5 if limit is None else 6
    radiograph = shown(image)
    rest = values[:, padded:].astype(float)
    np.testing.assert_allclose(
        radiograph.pixels[:, padded:], (rest - rest.min()) / (rest.max() - rest.min()), atol=1e-6
    )
    assert (radiograph.pixels[:, :padded] == 0).all()
    assert radiograph.source.steps[-1] == "pixel padding to black"


def test_padding_of_unsigned_values_may_be_written_as_negative():
    values = VALUES.copy()
    values[:, :5] = 65535
    image = dataset(values, bits=16)
    image.add_new("PixelPaddingValue", "SS", -1)
    assert (shown(image).pixels[:, :5] == 0).all()


# What a file says about its pixels


@pytest.mark.parametrize("intent", ["FOR PROCESSING", "for processing", "FOR PROCESSING "])
def test_pixels_that_are_not_meant_to_be_looked_at_are_warned_about(intent):
    assert shown(dataset(PresentationIntentType=intent)).warnings == (
        "PresentationIntentType (0008,0068) is FOR PROCESSING: these pixels are not meant to be looked at.",
    )
    assert shown(dataset(PresentationIntentType="FOR PRESENTATION")).warnings == ()


def test_a_presentation_lut_shape_that_contradicts_the_photometric_interpretation_is_named():
    warned = shown(dataset(photometric="MONOCHROME2", PresentationLUTShape="INVERSE"))
    assert "PresentationLUTShape (2050,0020) is INVERSE" in warned.warnings[0]
    np.testing.assert_allclose(warned.pixels, FULL, atol=1e-6)
    assert shown(dataset(photometric="MONOCHROME1", PresentationLUTShape="INVERSE")).warnings == ()
    assert shown(dataset(PresentationLUTShape="IDENTITY")).warnings == ()


@pytest.mark.parametrize("function", ["sigmoid", "SIGMOID ", "Sigmoid"])
def test_case_and_blanks_of_the_voi_lut_function_do_not_count(function):
    image = dataset(**WINDOW, VOILUTFunction=function)
    assert shown(image).source.steps == ("window 2048/4096 (SIGMOID)",)
