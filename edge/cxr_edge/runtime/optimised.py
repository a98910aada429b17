"""ONNX Runtime's optimised form of a network, kept in the user's cache folder for the next start on this machine.

What a start spends most of its time on is to rewrite the graph and to lay the weights out for the processor. The result
holds for one network, one build of ONNX Runtime and one kind of processor; all of them are part of the entry's name.
ONNX Runtime writes an entry when it first opens the network here. Both of its files are hashed then, and every start
reads them once, compares their hashes and hands exactly these bytes to ONNX Runtime.

The environment variable ``CXR_EDGE_CACHE`` names another folder; an empty one switches the cache off.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from cxr_edge.files import read_into_memory
from cxr_edge.runtime.machine import read_processor

VARIABLE = "CXR_EDGE_CACHE"
KEPT = 8
"""Entries that stay when another one is written; the oldest go first."""
_FORMAT = 1
_SUB = "networks"
_GRAPH, _WEIGHTS, _ENTRY = "graph.onnx", "weights.bin", "entry.json"
_LEAST = 1024  # bytes from which on a constant is kept among the weights and not in the graph
_PIECE = 2**21  # bytes that are hashed at once
_ABANDONED = 3600  # seconds after which a half-written entry is nobody's any more


@dataclass(frozen=True)
class Cache:
    """Where this program keeps what it would have to make again.

    Attributes:
        folder: The folder, which need not exist yet; None where nothing is kept.
        reason: ``used``, or why nothing is kept.
    """

    folder: Path | None
    reason: str


@dataclass(frozen=True, eq=False)
class Optimised:
    """An optimised network, read and checked.

    Attributes:
        graph: The bytes of its ONNX file, whose large weights lie outside.
        weights: Those weights. They are used where they lie: the memory has to outlive the session.
    """

    graph: bytes
    weights: memoryview

    def load_into(self, options: Any, runtime: Any) -> bytes:
        """Have a session of these options take the weights from memory and leave the graph as it is.

        Args:
            options: ``SessionOptions``.
            runtime: The module ``onnxruntime``.

        Returns:
            The model to open with them.
        """
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.use_external_initializer_file_buffers_directly", "1")
        options.add_external_initializers_from_files_in_memory([_WEIGHTS], [self.weights], [len(self.weights)])
        return self.graph


@dataclass(frozen=True)
class Entry:
    """The place of one optimised network.

    Attributes:
        folder: Holds its files; it need not exist.
        about: What it is optimised from and for; its name is made of this.
    """

    folder: Path
    about: dict[str, Any]

    def read(self) -> Optimised | None:
        """Give what lies there, None if there is nothing or if it is damaged."""
        try:
            stated = json.loads((self.folder / _ENTRY).read_bytes())
            graph, weights = (read_into_memory(self.folder / name) for name in (_GRAPH, _WEIGHTS))
            found = {"about": self.about, "sha256": {_GRAPH: _hashes(graph), _WEIGHTS: _hashes(weights)}}
        except (OSError, ValueError, RecursionError):
            return None
        return Optimised(graph.tobytes(), weights) if stated == found else None

    def discard(self) -> None:
        """Remove it, as far as that is possible."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def writing(self, options: Any) -> Iterator[None]:
        """Have the session that is opened in this block write the entry.

        The entry appears in one step, after the block, or not at all. If another process was quicker, its entry stays.

        Args:
            options: The ``SessionOptions`` of that session.

        Raises:
            OSError: The folder cannot be written.
        """
        import tempfile  # only the first start on a machine pays for it

        root = self.folder.parent
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=root, prefix="."))
        try:
            options.optimized_model_filepath = os.fspath(temporary / _GRAPH)
            for name, value in (("file_name", _WEIGHTS), ("min_size_in_bytes", str(_LEAST))):
                options.add_session_config_entry(f"session.optimized_model_external_initializers_{name}", value)
            yield
            sums = {name: _hashes(read_into_memory(temporary / name)) for name in (_GRAPH, _WEIGHTS)}
            text = json.dumps({"about": self.about, "sha256": sums}, indent=2)
            (temporary / _ENTRY).write_text(text, encoding="utf-8")
            with suppress(OSError):
                temporary.rename(self.folder)
            _tidy(root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def entry_for(sha256: str, runtime: Any) -> Entry | None:
    """Give the place of a network's optimised form for the CPU of this machine.

    Args:
        sha256: The hash of the network's ONNX file in hexadecimal.
        runtime: The module ``onnxruntime``.

    Returns:
        None where no cache is kept: it is switched off, no folder of this user is known, or this ONNX Runtime would
        copy the weights (before version 1.31).
    """
    root = find_cache().folder
    if root is None or not _borrows(runtime):
        return None
    about = {
        "format": _FORMAT,
        "network": sha256,
        "onnxruntime": [runtime.__version__, str(runtime.get_build_info())],
        "provider": "cpu",
        "options": {"level": "all", "least": _LEAST},
        "processor": {**asdict(read_processor()), "features": _features()},
    }
    about = json.loads(json.dumps(about))  # as it will be read back
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return Entry(root / _SUB / name, about)


def find_cache() -> Cache:
    """Find the folder of this program in the user's cache folder, and say whether it is used.

    Whoever can write into it can change answers: a folder of another user, or one that others may write into, is not
    used.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen == "":
        return Cache(None, f"{VARIABLE} is empty")
    try:
        folder = Path(chosen).absolute() if chosen else _user_cache() / "cxr-edge"
        for each in (folder, folder / _SUB):
            # Elsewhere than on POSIX the profile belongs to its user.
            if hasattr(os, "geteuid") and each.exists():
                facts = each.stat()
                if facts.st_uid != os.geteuid():
                    return Cache(None, f"{each} belongs to another user")
                if facts.st_mode & 0o022:
                    return Cache(None, f"others may write into {each}")
    except (OSError, RuntimeError, ValueError) as error:  # no home, no permission, or a name that is none
        return Cache(None, f"no cache folder ({error})")
    return Cache(folder, "used")


def _user_cache() -> Path:
    stated = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if stated and Path(stated).is_absolute():
        return Path(stated)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _borrows(runtime: Any) -> bool:
    """Say whether this version uses weights where they lie in memory."""
    numbers = tuple(int(number) for number in runtime.__version__.split(".")[:2])
    return numbers >= (1, 31)


def _features() -> list[str]:
    """Give the instruction sets that NumPy finds; the operating system does not list them everywhere."""
    try:
        found: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):  # it is no public module
        return []
    return sorted(name for name, there in found.items() if there)


def _hashes(data: memoryview) -> list[str]:
    """Give the SHA-256 of every piece, computed in two threads."""
    pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    with ThreadPoolExecutor(2) as pool:
        return [each.hexdigest() for each in pool.map(hashlib.sha256, pieces)]


def _tidy(root: Path) -> None:
    """Remove the oldest entries, and what a process left behind that was killed while it wrote one."""
    with suppress(OSError):
        ages = {path: path.stat().st_mtime for path in root.iterdir() if path.is_dir()}
        entries = sorted((path for path in ages if not path.name.startswith(".")), key=lambda path: -ages[path])
        left = [path for path in ages if path.name.startswith(".") and ages[path] < time.time() - _ABANDONED]
        for path in [*entries[KEPT:], *left]:
            shutil.rmtree(path, ignore_errors=True)
