"""LiteRT with XNNPACK, converted from Keras."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from peers.network import Floats, Network
from peers.peer import Peer, Predict

NAME = "LiteRT"
NEEDS = ("ai_edge_litert", "tensorflow")
REQUIREMENTS = "requirements-litert.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Convert and load it."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    size = network.bundle.manifest.input
    signature = tf.TensorSpec((1, size.height, size.width), tf.float32)
    function = tf.function(lambda pixels: network.keras(pixels, training=False)).get_concrete_function(signature)
    # Left as variables, as Keras 3 hands them over, the weights would be missing in the result.
    frozen = convert_variables_to_constants_v2(function)

    def load(*, int8: bool) -> Predict:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]  # weights of 8 bits, activations as they come
        interpreter = Interpreter(model_content=converter.convert(), num_threads=threads)
        interpreter.allocate_tensors()
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

        def predict(inputs: Floats) -> NDArray[Any]:
            logits = []
            for image in inputs:  # the converted graph has a batch of one
                interpreter.set_tensor(taken["index"], image[None])
                interpreter.invoke()
                logits.append(interpreter.get_tensor(given["index"])[0])
            return network.probability(np.array(logits))

        return predict

    return [Peer(NAME, load(int8=False)), Peer(f"{NAME}, int8 weights", load(int8=True), tolerance=0.1)]
