"""Look-up tables of modality, VOI (PS3.3 sections C.11.1.1.1 and C.11.2.1.1) and palettes (C.7.6.3.1.5)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from cxr_edge.errors import InputError
from cxr_edge.reading.data_set import DataSet, Element, name
from cxr_edge.reading.image_header import missing


@dataclass(frozen=True, eq=False)
class LookupTable:
    """One table.

    Attributes:
        entries: uint8 or uint16 [n], n > 0.
        first: The value that the first entry stands for, as an unsigned or a signed number.
        stated_bits: The depth that its descriptor states.
        stated_entries: The number of entries that its descriptor states.
    """

    entries: NDArray[Any]
    first: int
    stated_bits: int
    stated_entries: int

    @property
    def bits(self) -> int:
        """The depth that its largest entry needs."""
        return max(1, int(self.entries.max()).bit_length())

    def starting(self, low: float, high: float) -> "LookupTable":
        """Give the same table with the sign of its first value that values of this range need.

        Some writers store a negative first value as unsigned, or the other way round: 63488 is -2048.
        """
        signs = (self.first, self.first - 2**16 if self.first > 0 else self.first + 2**16)
        reached = [first for first in signs if first <= high and first + len(self.entries) > low]
        return LookupTable(self.entries, (reached or signs)[0], self.stated_bits, self.stated_entries)

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Look values up; those below the first and above the last value get the first and the last entry.

        Args:
            values: Of any shape; fractions are rounded.

        Returns:
            The entries, of the same shape.
        """
        wide = np.rint(values) if values.dtype.kind == "f" else values.astype(np.int64)
        return self.entries[np.clip(wide - self.first, 0, len(self.entries) - 1).astype(np.int32)]


def read_lookup_table(dataset: DataSet, keyword: str) -> LookupTable | None:
    """Read the first item of a sequence with a table that has data.

    Args:
        dataset: The elements.
        keyword: ``ModalityLUTSequence`` or ``VOILUTSequence``.

    Returns:
        The table, None where no item has data.
    """
    for item in dataset.items(keyword):
        table = table_of(item.get("LUTDescriptor"), item.get("LUTData"))
        if table is not None:
            return table
    return None


def table_of(descriptor: Element | None, data: Element | None) -> LookupTable | None:
    """Read a table from its descriptor and its data.

    Entries of 8 bits may lie in one byte each, whatever the descriptor says; the length of the data decides.

    Returns:
        None where one of both is missing, empty or shorter than a descriptor.
    """
    if descriptor is None or data is None or len(descriptor.value) < 6 or len(data.value) < 2:
        return None
    order = "<" if descriptor.little else ">"
    count, first, bits = (int(value) for value in np.frombuffer(descriptor.value[:6], f"{order}u2"))
    count = count or 2**16
    if descriptor.vr == "SS" and first >= 2**15:
        first -= 2**16
    size = len(data.value)
    in_bytes = size == count + count % 2
    entries: NDArray[Any] = np.frombuffer(data.value, np.uint8)
    if not in_bytes:
        entries = np.frombuffer(data.value[: size // 2 * 2], "<u2" if data.little else ">u2")
    return LookupTable(entries[:count], first, bits, count)


def depth_warning(table: LookupTable, sequence: str) -> str | None:
    """Say that a table differs from its descriptor; None where it does."""
    where = f"LUTDescriptor (0028,3002) of {name(sequence)}"
    if len(table.entries) < table.stated_entries:
        return f"{where} states {table.stated_entries} entries, LUTData (0028,3006) has {len(table.entries)}."
    if table.bits != table.stated_bits:
        return f"{where} states {table.stated_bits} bits, its entries need {table.bits}: these were used."
    return None


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
