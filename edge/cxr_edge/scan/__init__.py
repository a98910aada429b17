"""Whole folders of radiographs: found, answered, explained and recorded, restartable at any moment.

One pool of threads reads, decodes, answers and explains; OpenCV, ONNX Runtime and the hash release the interpreter, so
that as many inputs are in work as there are cores, each on one. That needs no stage to be kept in balance with another:
decoding one input overlaps the inference of the next by itself, and a record does not depend on which inputs happened
to run with it. Results come back in the order of discovery and pass one writer, whose journal is the truth that
everything else derives from.

JPEG is decoded at full size. Half size would be quicker, but it moves probabilities by more than the last digits, and a
record would no longer say what `predict` says.
"""
