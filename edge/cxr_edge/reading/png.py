"""PNG: chunks with their checksums, the number of pixels, then OpenCV.

libpng writes what it notices to the error stream. So it gets nothing here that it could complain about: only the
chunks that make the pixels, with pixel data of the right length. Inflating them twice takes a third of the time.
"""

import struct
import zlib

import cv2
import numpy as np

from cxr_edge.reading.picture import Picture, check_size, damaged, exif_orientation, steps_of, truncated, turned_upright

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_PORTION = 2**20  # bytes that are inflated at once
_READ = frozenset({b"IHDR", b"PLTE", b"acTL", b"eXIf"})
# First column and row of each pass, then the distances to the next ones (PNG specification 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read_png(data: bytes) -> Picture:
    """Read a PNG file of any depth and colour; an alpha channel is left aside.

    Args:
        data: The whole file.

    Raises:
        InputError: It is cut off, damaged, animated or too large.
    """
    chunks = _chunks(data)
    header = chunks[b"IHDR"]
    if len(header) != 13:
        raise damaged("PNG", "its header")
    width, height, bits, color_type, compression, filtering, interlacing = struct.unpack(">IIBBBBB", header)
    if bits not in _DEPTHS.get(color_type, ()) or compression or filtering or interlacing > 1:
        raise damaged("PNG", "its header")
    animation = chunks.get(b"acTL", b"")
    check_size(width, height, struct.unpack_from(">I", animation)[0] if len(animation) == 8 else 1)
    palette = chunks.get(b"PLTE", b"")
    if color_type == 3 and (not palette or len(palette) % 3 or len(palette) > 768):
        raise damaged("PNG", "its palette")
    passes = _passes(width, height, bits * _SAMPLES[color_type], interlaced=interlacing == 1)
    compressed = chunks[b"IDAT"]
    if _check_pixels(compressed, passes):
        needed = zlib.decompressobj().decompress(compressed, sum(rows * size for rows, size in passes))
        compressed = zlib.compress(needed, 0)
    parts = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", compressed), (b"IEND", b"")]
    plain = SIGNATURE + b"".join(_written(*part) for part in parts if part[0] != b"PLTE" or color_type == 3)
    pixels = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.shape != (height, width):
        raise damaged("PNG", "its pixels")
    orientation = exif_orientation(chunks.get(b"eXIf", b""))
    return Picture(
        turned_upright(pixels, orientation),
        255.0 if pixels.dtype == np.uint8 else 65535.0,
        "PNG",
        width,
        height,
        bits,
        steps_of(color=color_type not in {0, 4}, orientation=orientation),
    )


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Check all chunks (PNG specification 5.3) and give the content of those that matter, by name."""
    chunks: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    position, name = len(SIGNATURE), b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise truncated("PNG")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if not name.isalpha() or (not chunks and name != b"IHDR"):
            raise damaged("PNG", "an unknown chunk")
        if end + 4 > len(data):
            raise truncated("PNG")
        content = memoryview(data)[position + 8 : end]
        if zlib.crc32(content, zlib.crc32(name)) != struct.unpack_from(">I", data, end)[0]:
            raise damaged("PNG", f"the checksum of its chunk {name.decode()}")
        if name == b"IDAT":
            pixels.append(bytes(content))
        elif name in _READ:
            chunks.setdefault(name, bytes(content))
        position = end + 4
    chunks[b"IDAT"] = b"".join(pixels)
    return chunks


def _written(name: bytes, content: bytes) -> bytes:
    """Write one chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def _passes(width: int, height: int, depth: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """Give rows and bytes a row, its filter byte included, of each pass over the picture."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    return [(rows, (columns * depth + 7) // 8 + 1) for columns, rows in sizes if columns > 0 and rows > 0]


def _check_pixels(compressed: bytes, passes: list[tuple[int, int]]) -> bool:
    """Inflate the pixels without keeping them; check their number, their filters and their checksum.

    Returns:
        Whether there are more of them than the header says, which does no harm.
    """
    stream = zlib.decompressobj()
    try:
        for rows, size in passes:
            for first in range(0, rows, max(1, _PORTION // size)):
                wanted = min(rows - first, max(1, _PORTION // size)) * size
                inflated = stream.decompress(compressed, wanted)
                compressed = stream.unconsumed_tail
                if len(inflated) < wanted:
                    raise damaged("PNG", "it has too few pixels")
                if max(inflated[::size]) > 4:
                    raise damaged("PNG", "a filter that does not exist")
        surplus = bool(stream.decompress(compressed, 1))
        if not surplus and not stream.eof:
            raise damaged("PNG", "its pixels have no checksum")
    except zlib.error as error:
        raise damaged("PNG", "its compressed pixels") from error
    return surplus
