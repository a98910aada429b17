"""A radiograph → its answer: preprocessing, the classifier, the gate, the scope, and small changes of the input."""
