"""The one place where ONNX Runtime sessions are made, and where it is said what they really run on."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any, get_args

from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Network
from cxr_edge.errors import BundleError, ProviderError, UsageError
from cxr_edge.runtime import openvino
from cxr_edge.runtime.binding import Binding
from cxr_edge.runtime.machine import check_threads, usable_cores
from cxr_edge.runtime.optimised import entry_for
from cxr_edge.runtime.providers import (
    ACCELERATORS,
    Accelerator,
    Obstacle,
    Provider,
    Started,
    bf16_obstacle,
    did_not_start,
    has_nvidia_driver,
    import_failure,
    not_built_in,
)

try:
    import onnxruntime

    onnxruntime.InferenceSession  # noqa: B018  # a half removed installation imports as an empty folder
except Exception as error:  # a library of the system that is missing, or a folder of two versions, raises anything
    raise import_failure(error) from error

__all__ = ["Provider", "Session", "onnxruntime", "open_session", "start", "usable_cores"]

_CPU = "CPUExecutionProvider"
_NO_LOG = 4
_PRELOADING = Lock()
_EXPORT = "install or export the bundle again"
NetworkSource = bytes | Path | Network
Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Session:
    """A loaded network; safe to run from several threads.

    Attributes:
        inference: The ONNX Runtime session.
        provider: What it really runs on: ``cpu``, ``cuda``, ``openvino`` or ``directml``.
        reason: Why it is that one.
        threads: Threads that one run may use.
        binding: Its buffers on a device with memory of its own, None elsewhere.
        path: The network's file, None where it came from memory.
    """

    inference: Any
    provider: Started
    reason: str
    threads: int
    binding: Binding | None = None
    path: Path | None = None

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        """Compute the named outputs.

        Raises:
            ProviderError: An accelerator that started breaks down; nothing is computed elsewhere instead.
        """
        try:
            if self.binding is not None:
                return self.binding.run(inputs, outputs)
            values: list[NDArray[Any]] = self.inference.run(outputs, inputs)
        except Exception as error:  # ONNX Runtime's own exception types share no base
            if self.provider == "cpu":
                raise
            title = ACCELERATORS[self.provider].title
            problem = f"{title} started, but broke down ({_first_line(error)})"
            raise ProviderError(problem, cure="--provider cpu") from error
        return values

    def check(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
        """Check what the network takes and gives against what the bundle says.

        Args:
            inputs: The shape of each, with None for a size that may be any. The first axis is the batch: the network
                has to leave it open, or it is of the size that is given.
            outputs: The same of those that are needed.

        Raises:
            BundleError: One is missing, or of another shape.
        """
        for kind, expected, found in (
            ("input", inputs, self.inference.get_inputs()),
            ("output", outputs, self.inference.get_outputs()),
        ):
            shapes = {each.name: each.shape for each in found}
            if kind == "input" and set(shapes) - set(expected):
                unknown = min(set(shapes) - set(expected))
                raise BundleError(f"takes an unknown input {unknown!a}", cure=_EXPORT, path=self.path)
            for name, shape in expected.items():
                if name not in shapes:
                    raise BundleError(f"has no {kind} {name}", cure=_EXPORT, path=self.path)
                if not _fits(shapes[name], shape):
                    problem = f"its {name} is of shape {ascii(shapes[name])[:100]}, the manifest says otherwise"
                    raise BundleError(problem, cure=_EXPORT, path=self.path)


def open_session(
    model: NetworkSource,
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    spinning: bool = True,
    cached: bool = False,
    bf16: bool = False,
    single: bool = False,
) -> Session:
    """Load a network.

    ONNX Runtime lists CUDA as available even where its libraries are missing, and then quietly runs on the CPU;
    what the opened session says is what counts.

    The threads of a session sleep between its runs, so that sessions that take turns do not get in each other's way.

    Args:
        model: A network of a bundle (`Bundle.network`), or an ONNX file's bytes or path.
        provider: ``cpu``; ``cuda``, ``openvino`` or ``directml``, which run there or fail; ``auto``, which takes CUDA
            if it starts and else the CPU.
        threads: Threads for one run; None takes every core this process may use.
        spinning: Whether idle threads wait busily for work during a run: quicker, at the cost of other programs.
        cached: Whether the next start on the CPU of this machine shall be quicker, for a network of a bundle: see
            `cxr_edge.runtime.optimised`. A small network opens as quickly without.
        bf16: Whether products have bfloat16 factors, which OpenVINO alone does: ``auto`` is ``openvino`` then.
        single: Whether the batch, ``N`` in a network of ours, is always 1: the CPU copies fewer tensors then.

    Raises:
        ProviderError: The provider was asked for and does not start, or nothing here computes in bf16.
        BundleError: The bytes are no network that this ONNX Runtime can load.
        UsageError: An unknown provider, fewer than one thread, or more than cores that this process may use.
    """
    if provider not in get_args(Provider):
        raise UsageError(f"provider {provider!r}", cure=f"expected one of {', '.join(get_args(Provider))}")
    check_threads(threads)
    threads = threads or usable_cores()
    if bf16:
        provider = "openvino" if provider == "auto" else provider
        if problem := bf16_obstacle(provider):
            raise ProviderError(f"bf16 was asked for, but {problem}", cure="--precision fp32")
    reason, obstacle = "asked for", None
    if provider != "cpu":
        accelerator = ACCELERATORS["cuda" if provider == "auto" else provider]
        reason = accelerator.absent
        # On most machines there is none, and they shall not wait for what `start` finds out about that.
        if provider != "auto" or accelerator.provider in onnxruntime.get_available_providers():
            started = start(model, accelerator, threads=threads, spinning=spinning, bf16=bf16)
            if isinstance(started, Session):
                return replace(started, reason=f"{accelerator.title} started") if provider == "auto" else started
            reason, obstacle = started.reason, started
    inference = _open_on_cpu(model, partial(_options, threads, spinning, single=single), cached=cached)
    if obstacle is not None and provider != "auto":
        cure = "; ".join((*obstacle.cure, "or take --provider cpu"))
        raise ProviderError(f"{accelerator.title} was asked for, but {reason}", cure=cure)
    return Session(inference, "cpu", reason, threads, path=_path(model))


def start(
    model: NetworkSource, accelerator: Accelerator, *, threads: int, spinning: bool = True, bf16: bool = False
) -> Session | Obstacle:
    """Load a network on an accelerator and nowhere else.

    Args:
        model: See `open_session`.
        accelerator: Where to.
        threads: Threads for what it leaves to the CPU.
        spinning: See `open_session`.
        bf16: See `open_session`.

    Returns:
        The session, or what kept it from running there.
    """
    if accelerator.hardware:
        return _start_openvino(model, accelerator, threads=threads, spinning=spinning, bf16=bf16)
    if accelerator.provider not in onnxruntime.get_available_providers():
        return not_built_in(accelerator)
    folder = Path(onnxruntime.__file__).parent / "capi"
    said = _preload() if accelerator.word == "cuda" else ""
    if accelerator.word == "cuda" and (said or not has_nvidia_driver()):
        return did_not_start(accelerator, said, folder=folder)  # ONNX Runtime would only log that it fails
    options = _options(threads, spinning)
    options.enable_mem_pattern = accelerator.memory_pattern
    try:
        inference = _open(model, [(accelerator.provider, accelerator.options(threads)), _CPU], options)
        if inference.get_providers()[0] == accelerator.provider:
            binding = Binding(onnxruntime, inference, accelerator.device) if accelerator.device else None
            return Session(inference, accelerator.word, "asked for", threads, binding, _path(model))
    except BundleError as error:  # or the network is at fault: the CPU will tell
        said = _first_line(error.__cause__ or error)
    return did_not_start(accelerator, said, folder=folder)


def _start_openvino(
    model: NetworkSource, accelerator: Accelerator, *, threads: int, spinning: bool, bf16: bool
) -> Session | Obstacle:
    devices = openvino.find_devices(onnxruntime, accelerator)
    if isinstance(devices, Obstacle):
        return devices
    options, cache = _options(threads, spinning), None
    if isinstance(model, Network):  # what comes from memory is small
        cache = openvino.compile_cache(model.sha256, accelerator, threads=threads, bf16=bf16)
    settings = openvino.settings_of(accelerator, threads=threads, bf16=bf16, cache=cache)
    said = ""
    try:
        options.add_provider_for_devices(devices, settings)
        inference = _open(model, None, options)
        if inference.get_providers()[0] == accelerator.provider:
            return Session(inference, accelerator.word, "asked for", threads, path=_path(model))
    except BundleError as error:  # or the network is at fault: the CPU will tell
        said = _first_line(error.__cause__ or error)
    return did_not_start(accelerator, said, folder=Path())


def _preload() -> str:
    """Load the libraries of CUDA; give what ONNX Runtime prints about those that it does not find.

    It prints to where the results go. Its module has a ``print`` of its own meanwhile, so that nobody else's output is
    touched.
    """
    said = StringIO()
    with _PRELOADING:
        onnxruntime.print = partial(print, file=said)
        try:
            onnxruntime.preload_dlls()
        finally:
            del onnxruntime.print
    return said.getvalue()


def _options(threads: int, spinning: bool, *, single: bool = False) -> Any:
    options = onnxruntime.SessionOptions()
    if single:
        options.add_free_dimension_override_by_name("N", 1)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.log_severity_level = _NO_LOG  # what fails is said by the error, with its cure
    return options


def _open_on_cpu(model: NetworkSource, make_options: Callable[[], Any], *, cached: bool) -> Any:
    entry = entry_for(model.sha256, onnxruntime) if cached and isinstance(model, Network) else None
    if entry is not None:
        if found := entry.read():
            options = make_options()
            with suppress(BundleError):
                inference = _open(found.load_into(options, onnxruntime), [_CPU], options)
                inference.weights_in_use = found.weights  # they have to live as long as it does
                return inference
        entry.discard()
        options = make_options()
        # A full or read-only disk costs the next start its shortcut, and this one nothing but the attempt.
        with suppress(OSError, BundleError), entry.writing(options):
            return _open(model, [_CPU], options)
    return _open(model, [_CPU], make_options())


def _open(model: NetworkSource, providers: list[Any] | None, options: Any) -> Any:
    source = bytes(model.content) if isinstance(model, Network) else model
    try:
        # Its own fallback prints to where the results go, and then computes on the CPU.
        return onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exception types share no base
        problem = f"ONNX Runtime {onnxruntime.__version__} cannot load the network: {_first_line(error)}"
        raise BundleError(problem, cure=_EXPORT, path=_path(model)) from error


def _fits(found: list[int | str | None], expected: Shape) -> bool:
    """Say whether a stated shape is the expected one; a size that the network leaves open is no number."""
    if len(found) != len(expected):
        return not found  # none is stated
    sizes = zip(found[1:], expected[1:], strict=True)
    return (not isinstance(found[0], int) or found[0] == expected[0]) and all(
        not isinstance(size, int) or wanted in {None, size} for size, wanted in sizes
    )


def _path(model: NetworkSource) -> Path | None:
    return model if isinstance(model, Path) else model.path if isinstance(model, Network) else None


def _first_line(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0]
    return line if line.isprintable() else ascii(line)
