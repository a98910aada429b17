"""OpenVINO beside the stock ONNX Runtime: a library that is registered at run time, and what it is told.

The distribution ``onnxruntime-ep-openvino`` brings the library and OpenVINO itself. Which devices it lists is its own
decision: on processors that are not Intel's it lists none. All settings go through ``load_config``, as JSON: a
precision as an option of its own is ignored without a word, and the default is bf16 wherever the processor has it.
"""

import hashlib
import json
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from cxr_edge.runtime.machine import read_processor, usable_cores
from cxr_edge.runtime.optimised import find_cache
from cxr_edge.runtime.providers import Accelerator, Obstacle, not_built_in

_PLUGIN = "onnxruntime_ep_openvino"
_NAME = "cxr-edge-openvino"
_SUB = "openvino"
_REGISTERING = Lock()
_registered: list[str] = []


def find_devices(runtime: Any, accelerator: Accelerator) -> list[Any] | Obstacle:
    """Register the library, once in a process, and give its devices of the kind that is asked for.

    Args:
        runtime: The module ``onnxruntime``.
        accelerator: With the kind of device.

    Returns:
        The first of them in a list, or what keeps OpenVINO from running there.
    """
    if find_spec(_PLUGIN) is None:
        return not_built_in(accelerator)
    if not hasattr(runtime, "register_execution_provider_library"):
        problem = f"ONNX Runtime {runtime.__version__} takes no plug-ins"
        return Obstacle(problem, ('python -m pip install "onnxruntime>=1.23"',))
    try:
        with _REGISTERING:
            if not _registered:
                runtime.register_execution_provider_library(_NAME, import_module(_PLUGIN).get_library_path())
                _registered.append(_NAME)
        devices = [
            each
            for each in runtime.get_ep_devices()
            if each.ep_name == accelerator.provider and each.device.type.name == accelerator.hardware
        ]
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's own exception types share no base
        first = str(error).strip().partition("\n")[0]
        return Obstacle(f"OpenVINO cannot be registered: {first}", ("reinstall onnxruntime-ep-openvino",))
    if not devices:
        processor = f" ({read_processor().model})" if accelerator.hardware == "CPU" else ""
        return Obstacle(f"OpenVINO lists no {accelerator.hardware} of this machine{processor}", ())
    return devices[:1]


def installed_plugin() -> str | None:
    """Give the version of the plug-in; None where it is not installed."""
    spec = find_spec(_PLUGIN)
    if spec is None or spec.origin is None:
        return None
    # The folder beside it says so by its name (PEP 376); importlib.metadata takes a tenth of a start to load.
    found = [each.name for each in Path(spec.origin).parents[1].glob(f"{_PLUGIN}-*.dist-info")]
    return found[0].removeprefix(f"{_PLUGIN}-").removesuffix(".dist-info") if len(found) == 1 else None


def settings_of(accelerator: Accelerator, *, threads: int, bf16: bool, cache: Path | None) -> dict[str, str]:
    """Give what the plug-in is told.

    Args:
        accelerator: With the kind of device.
        threads: Threads of one run on the CPU.
        bf16: Whether products have bfloat16 factors; else all is float32.
        cache: Where compiled networks are kept; None keeps none.
    """
    values = {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}
    if accelerator.hardware == "CPU":
        # With one stream, runs of several threads of the caller, as in a scan, would wait for each other.
        streams = max(1, usable_cores() // threads)
        values["NUM_STREAMS"], values["INFERENCE_NUM_THREADS"] = str(streams), str(streams * threads)
    if cache is not None:
        values["CACHE_DIR"] = str(cache)
    return {"load_config": json.dumps({accelerator.hardware: values})}


def compile_cache(network: str, accelerator: Accelerator, *, threads: int, bf16: bool) -> Path | None:
    """Give the folder for the compiled form of a network; None where no cache is used or it cannot be made.

    Its name depends on the network, the plug-in, the processor and the options: a changed one is never read.

    Args:
        network: SHA-256 of the network's ONNX file in hexadecimal.
        accelerator: See `settings_of`.
        threads: See `settings_of`.
        bf16: See `settings_of`.
    """
    root, plugin = find_cache().folder, installed_plugin()
    if root is None or plugin is None:
        return None
    about = [
        network,
        plugin,
        asdict(read_processor()),
        settings_of(accelerator, threads=threads, bf16=bf16, cache=None),
    ]
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    try:
        for folder in (root, root / _SUB, root / _SUB / name):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # a full or read-only disk costs the next start its shortcut
        return None
    return root / _SUB / name
