"""From located answers to hallucination neurons: contributions, sparse classifier, neuron set."""
