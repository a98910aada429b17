"""Coverage-guided fuzzing of `read_radiograph`: no exception but `InputError`, no more than 1 GB, no more than 5 s.

pip install atheris
python benchmarks/fuzz_reading.py --inputs 100000

It begins with the radiographs of the tests and small ones in every format and compression; libFuzzer changes them and
keeps what reaches new lines of the reader. It stops at the first finding and leaves the input as a file.
"""

import argparse
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from damage import compressed, uncompressed_dicom  # noqa: E402

try:
    import atheris
except ImportError:
    sys.exit("The fuzzer needs atheris: pip install atheris")

with atheris.instrument_imports(include=["cxr_edge.reading"]):
    # These are imported when a file needs them; instrumented now.
    import cxr_edge.reading.dicom
    import cxr_edge.reading.jpeg
    import cxr_edge.reading.picture
    import cxr_edge.reading.png
    import cxr_edge.reading.tiff_bmp  # noqa: F401
    from cxr_edge.errors import InputError
    from cxr_edge.reading.decode import read_radiograph

_LONGEST = 40_000


def main() -> None:
    """Fuzz."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--quick", action="store_true", help="2,000 inputs")
    options.add_argument("--findings", type=Path, default=Path.cwd(), help="folder for an input that is a finding")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(_seeds()):
            Path(folder, f"{number}").write_bytes(data)
        limits = ["-rss_limit_mb=1024", "-timeout=5", f"-max_len={_LONGEST}", "-len_control=0"]
        runs = f"-runs={2000 if asked.quick else asked.inputs}"
        where = f"-artifact_prefix={asked.findings.resolve()}/"
        atheris.Setup([sys.argv[0], folder, runs, f"-seed={asked.seed}", where, *limits], _read)
        atheris.Fuzz()  # ends the process: 0 without a finding


def _read(data: bytes) -> None:
    try:
        read_radiograph(bytes(data))
    except InputError as error:
        if error.kind == "internal":  # an exception that nobody foresaw
            raise


def _seeds() -> list[bytes]:
    """Radiographs of the tests that are short enough, and a corner of one in every format and compression."""
    grey = cv2.imread(str(ROOT / "tests/data/radiographs/person586_bacteria_2417.png"), cv2.IMREAD_GRAYSCALE)
    grey = grey[200:248, 300:356].copy()
    deep = grey.astype(np.uint16) * 16
    color = cv2.applyColorMap(grey, cv2.COLORMAP_HOT)
    seeds = [file.data for pixels in (grey, deep) for file in compressed(pixels)]
    seeds += [uncompressed_dicom(grey), uncompressed_dicom(deep)]
    seeds += [
        cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".png", ".tiff") for pixels in (grey, deep, color)
    ]
    seeds += [cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".bmp", ".jpg") for pixels in (grey, color)]
    seeds += [_tiff(grey, name) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")]
    files = sorted((ROOT / "tests" / "data").rglob("*.*"))
    short = [path.read_bytes() for path in files if path.suffix in {".jpeg", ".dcm"} and path.stat().st_size < _LONGEST]
    return [seed for seed in seeds + short[:20] if len(seed) <= _LONGEST]


def _tiff(pixels: np.ndarray, compression: str) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", compression=compression)
    return file.getvalue()


if __name__ == "__main__":
    main()
