"""A network that was optimised when it was exported, so that a session need not do it at every start.

What ONNX Runtime spends most of a start on is to lay the weights of the convolutions out in blocks of channels, as the
processor's registers take them. The result holds for processors of one block size and for one version of ONNX Runtime;
anywhere else the general network is loaded, a tenth of a second slower.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Reorders 1 x 8 x 1 x 1 values into blocks of channels: the shape of what comes out tells the block size. An ONNX
# model of one node, ReorderInput of the domain com.microsoft.nchwc; `cxr_export.prepare.probe` makes it.
_PROBE = bytes.fromhex(
    "0808120a6378722d6578706f72743a720a290a0178120179220c52656f72646572496e7075743a13636f6d2e6d6963726f736f66"
    "742e6e63687763120a626c6f636b2073697a655a1b0a017812160a14080112100a0208010a0208080a0208010a020801621c0a01"
    "7912170a15080112110a0208010a031201630a0208010a02080142040a00101242170a13636f6d2e6d6963726f736f66742e6e63"
    "6877631001"
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An optimised network.

    Attributes:
        graph: The bytes of its ONNX file, whose weights lie in another one.
        folder: Where that one lies. It is mapped into memory, not copied, which is most of what is gained: so it may
            be replaced while a session lives, but not written into.
        block: The block size that its weights are laid out for.
        version: The version of ONNX Runtime that made it.
    """

    graph: bytes
    folder: Path
    block: int
    version: str

    def fits(self, runtime: Any) -> bool:
        """Say whether it answers here as the general network does.

        Args:
            runtime: The module ``onnxruntime``.
        """
        return bool(runtime.__version__ == self.version and block_size(runtime) == self.block)

    def load_into(self, options: Any, runtime: Any) -> bytes:
        """Have a session of these options find the weights and leave the graph as it is.

        Args:
            options: ``SessionOptions``.
            runtime: The module ``onnxruntime``.

        Returns:
            The model to open with them.
        """
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self.folder))
        return self.graph


def block_size(runtime: Any) -> int:
    """Ask ONNX Runtime how many channels it lays side by side on this processor.

    Args:
        runtime: The module ``onnxruntime``.

    Returns:
        8 with AVX2 and 16 with AVX-512, say; 0 where it knows no such layout.
    """
    import numpy as np  # a bundle is hashed while NumPy is still being imported

    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
        (reordered,) = session.run(None, {"x": np.zeros((1, 8, 1, 1), np.float32)})
    except Exception:  # noqa: BLE001  # ONNX Runtime's own exception types share no base; no such operator here
        return 0
    return int(reordered.shape[1])
