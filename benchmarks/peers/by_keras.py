"""Keras: `predict`, the model as a compiled function, Grad-CAM by `GradientTape`, and `lime` on top of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import package_lime
from cxr_edge.explanation.superpixels import Superpixels
from peers.network import Floats, Network
from peers.peer import Peer

NAME = "Keras"
NEEDS = ("keras", "tensorflow", "lime")
REQUIREMENTS = "requirements-keras.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Load them."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = network.keras
    features = keras.Model(model.inputs[0], [model.get_layer("pooled").input, model.outputs[0]])
    compiled = tf.function(lambda pixels: model(pixels, training=False), autograph=False)

    def predict(inputs: Floats) -> NDArray[Any]:
        return network.probability(model.predict(inputs, verbose=0))

    def function(inputs: Floats) -> NDArray[Any]:
        return network.probability(compiled(tf.constant(inputs)).numpy())

    def gradcam(image: Floats) -> NDArray[Any]:
        with tf.GradientTape() as tape:
            maps, logits = features(image[None], training=False)
            score = logits[:, 1]
        weights = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * maps, -1))[0].numpy()

    def lime(image: Floats, regions: Superpixels, *, seed: int, samples: int) -> NDArray[np.float64]:
        return package_lime(predict, image, regions, seed=seed, samples=samples)

    return [Peer("Keras `predict`", predict, gradcam, lime), Peer("Keras, compiled function", function)]
