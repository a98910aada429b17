"""Palette colors."""

import numpy as np
import pytest

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from dicoms import VALUES, dataset, written

INDICES = (VALUES // 16).astype(np.uint8)
COLORS = ("Red", "Green", "Blue")


def palette(tables, *, bits=16, first=0, kind="<u2", segmented=False, values=INDICES, stored=8):
    image = dataset(values, bits=stored, photometric="PALETTE COLOR")
    for color, entries in zip(COLORS, tables, strict=True):
        count = 256 if segmented else len(entries)
        image.add_new(f"{color}PaletteColorLookupTableDescriptor", "US", [count, first % 65536, bits])
        keyword = f"{'Segmented' if segmented else ''}{color}PaletteColorLookupTableData"
        image.add_new(keyword, "OW", np.asarray(entries).astype(kind).tobytes())
    return written(image)


RAMP = np.arange(256)
TABLES = (RAMP, RAMP[::-1], RAMP // 2)
GREY = sum(weight * table for weight, table in zip((0.299, 0.587, 0.114), TABLES, strict=True)) / 255


@pytest.mark.parametrize(
    ("scale", "bits", "kind"), [(257, 16, "<u2"), (1, 8, "<u2"), (1, 8, "u1"), (1, 16, "u1"), (1, 16, "<u2")]
)
def test_every_way_to_store_a_palette_gives_the_same_grey(scale, bits, kind):
    radiograph = read_radiograph(palette([table * scale for table in TABLES], bits=bits, kind=kind))
    np.testing.assert_allclose(radiograph.pixels, GREY[INDICES], atol=2e-3)
    assert radiograph.source.steps == ("color to grey",)


def test_indices_beyond_a_palette_get_its_ends():
    radiograph = read_radiograph(palette([table[50:150] for table in TABLES], bits=8, first=50))
    np.testing.assert_allclose(radiograph.pixels, GREY[np.clip(INDICES, 50, 149)], atol=1e-5)


def test_more_indices_than_a_byte_holds():
    ramp = np.arange(4096) // 16
    radiograph = read_radiograph(palette([ramp] * 3, bits=8, kind="u1", values=VALUES, stored=12))
    np.testing.assert_allclose(radiograph.pixels, VALUES // 16 / 255, atol=1e-5)


def test_a_segmented_palette():
    # One entry, then a line to 65535 over the other 255 (PS3.3 section C.7.9.2).
    segments = [0, 1, 0, 1, 255, 65535]
    radiograph = read_radiograph(palette([segments] * 3, segmented=True))
    np.testing.assert_allclose(radiograph.pixels, INDICES / 255, atol=1e-4)


@pytest.mark.parametrize("segments", [[0, 1, 0], [9, 9, 9, 9], [2, 0, 0, 0]])
def test_a_damaged_segmented_palette_is_named(segments):
    with pytest.raises(InputError, match=r"\(0028,1221\)") as caught:
        read_radiograph(palette([segments] * 3, segmented=True))
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize("part", ["Descriptor", "Data"])
def test_a_missing_part_is_named(part):
    data = palette(TABLES)
    tag = {"Descriptor": b"\x28\0\x02\x11", "Data": b"\x28\0\x02\x12"}[part]
    assert data.count(tag) == 1
    with pytest.raises(InputError, match=r"PaletteColorLookupTableDescriptor \(0028,110[12]\) is missing"):
        read_radiograph(data.replace(tag, b"\x28\0\x02\x19"))
