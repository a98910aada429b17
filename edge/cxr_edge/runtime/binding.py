"""Runs on a device whose memory is not the host's: few shapes, buffers that stay, no allocation from run to run."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 16
Arrays = Mapping[str, NDArray[Any]]


def padded(count: int) -> int:
    """Give the size of the batch that runs for ``count`` inputs: 1, or the next multiple of 16.

    A device plans memory and convolutions for every shape that it meets: so it meets few.
    """
    return 1 if count == 1 else -(-count // STEP) * STEP


@dataclass(frozen=True, eq=False)
class _Buffers:
    host: dict[str, NDArray[Any]]
    device: dict[str, Any]
    binding: Any


class Binding:
    """A session's inputs and outputs, bound to memory of its device; every thread has its own.

    Args:
        runtime: The module ``onnxruntime``.
        inference: A session whose inputs and outputs all have the batch as their first axis.
        device: The device in ONNX Runtime's words, such as ``cuda``.
    """

    def __init__(self, runtime: Any, inference: Any, device: str) -> None:
        self._runtime = runtime
        self._inference = inference
        self._device = device
        self._local = threading.local()

    def run(self, inputs: Arrays, outputs: list[str]) -> list[NDArray[Any]]:
        """Compute the named outputs of N inputs; a larger batch runs, the rest of it is cut off."""
        count = len(next(iter(inputs.values())))
        buffers = self._buffers(inputs, outputs, padded(count))
        for name, value in inputs.items():
            buffers.host[name][:count] = value
            buffers.device[name].update_inplace(buffers.host[name])
        self._inference.run_with_iobinding(buffers.binding)
        return [value[:count] for value in buffers.binding.copy_outputs_to_cpu()]

    def _buffers(self, inputs: Arrays, outputs: list[str], size: int) -> _Buffers:
        known: dict[object, _Buffers] = self._local.__dict__.setdefault("known", {})
        key = (size, tuple(outputs))
        if key not in known:
            host = {name: np.zeros((size, *value.shape[1:]), value.dtype) for name, value in inputs.items()}
            value_of = self._runtime.OrtValue.ortvalue_from_numpy
            device = {name: value_of(value, self._device, 0) for name, value in host.items()}
            binding = self._inference.io_binding()
            for name, value in device.items():
                binding.bind_ortvalue_input(name, value)
            for name in outputs:
                binding.bind_output(name, self._device, 0)
            known[key] = _Buffers(host, device, binding)
        return known[key]
