"""Other runtimes on the shipped network: each gives log-odds [N] for inputs float32 [N, 224, 224] in 0..255."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def openvino(classifier: Path, threads: int) -> Network:
    """OpenVINO Runtime on the same ONNX file, tuned for latency."""
    from openvino import Core

    core = Core()
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(classifier), "CPU", options)
    request, output = compiled.create_infer_request(), compiled.output("logodds")
    return lambda inputs: request.infer({"pixels": inputs})[output].copy()


def keras_predict(network: Any) -> Network:
    """``keras.Model.predict``, what most notebooks call."""
    return lambda inputs: _logodds(network.predict(inputs, verbose=0))


def keras_compiled(network: Any) -> Network:
    """The same network as one compiled TensorFlow function."""
    import tensorflow as tf

    function = tf.function(lambda inputs: network(inputs, training=False), reduce_retracing=True)
    return lambda inputs: _logodds(function(tf.constant(inputs)).numpy())


def keras_gradcam(network: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Grad-CAM of PNEUMONIA with ``tf.GradientTape``, compiled: inputs → maps [N, 7, 7]."""
    import keras
    import tensorflow as tf

    both = keras.Model(network.input, [network.get_layer("pooled").input, network.output])

    @tf.function(reduce_retracing=True)
    def explain(inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            features, logits = both(inputs, training=False)
            score = logits[:, 1]
        weights = tf.reduce_mean(tape.gradient(score, features), (1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * features, -1))

    return lambda inputs: explain(tf.constant(inputs)).numpy()


def litert(network: Any, threads: int) -> Network:
    """LiteRT on the converted network, one input at a time."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    model = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1, 224, 224))
    interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def one(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(place, inputs)
        interpreter.invoke()
        return _logodds(interpreter.get_tensor(result))

    return one


def _logodds(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(logits[:, 1] - logits[:, 0], np.float32)
