"""Palettes, which give an index its color (PS3.3 sections C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from cxr_edge.errors import InputError
from cxr_edge.reading.data_set import DataSet
from cxr_edge.reading.image_header import missing
from cxr_edge.reading.lookup_table import LookupTable, table_of

_COLORS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Palette:
    """The tables of red, green and blue."""

    tables: tuple[LookupTable, ...]

    @property
    def white(self) -> float:
        """The white level. Some writers state 16 bits and store 8."""
        return 255.0 if max(table.bits for table in self.tables) <= 8 else 65535.0

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Give every index its color.

        Args:
            stored: [height, width].

        Returns:
            [height, width, 3] in RGB order, 0..white.
        """
        return np.stack([table.apply(stored) for table in self.tables], -1)


def read_palette(dataset: DataSet, *, signed: bool) -> Palette:
    """Read the palette of an image.

    Args:
        dataset: The elements of the image.
        signed: Whether its stored values are signed, and with them the first one that a table maps.

    Raises:
        InputError: A part of the palette is missing.
    """
    tables = []
    for color in _COLORS:
        descriptor = dataset.get(f"{color}PaletteColorLookupTableDescriptor")
        table = table_of(descriptor, dataset.get(f"{color}PaletteColorLookupTableData"))
        if table is None:
            return _segmented(dataset, signed=signed)
        tables.append(table.starting(*((-(2**15), 2**15 - 1) if signed else (0, 2**16 - 1))))
    return Palette(tuple(tables))


def _segmented(dataset: DataSet, *, signed: bool) -> Palette:
    """Expand a segmented palette, by pydicom, over all that its descriptor covers."""
    image = Dataset()
    image.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    for color in _COLORS:
        descriptor, data = (
            dataset.get(keyword)
            for keyword in (
                f"{color}PaletteColorLookupTableDescriptor",
                f"Segmented{color}PaletteColorLookupTableData",
            )
        )
        if descriptor is None or data is None or len(descriptor.value) < 6:
            raise missing(f"{color}PaletteColorLookupTableDescriptor")
        image.set_original_encoding(is_implicit_vr=False, is_little_endian=data.little)
        count, first, bits = np.frombuffer(descriptor.value[:6], "<u2" if descriptor.little else ">u2").tolist()
        image.add_new(f"{color}PaletteColorLookupTableDescriptor", "US", [count, 0, bits])
        image.add_new(f"Segmented{color}PaletteColorLookupTableData", "OW", bytes(data.value))
    indices = np.arange(count or 2**16, dtype=np.uint16)
    try:
        entries = apply_color_lut(indices, image)
    except Exception:  # noqa: BLE001  # pydicom checks no part of it before it is used
        problem = "its palette, Segmented Red Palette Color Lookup Table Data (0028,1221) and following, is damaged"
        raise InputError(problem, kind="damaged", cure="export the image again in RGB") from None
    start = first - 2**16 if signed and first >= 2**15 else first
    return Palette(tuple(LookupTable(entries[:, index], start, bits, len(indices)) for index in range(3)))
