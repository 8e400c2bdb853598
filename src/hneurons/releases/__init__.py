"""Detectors to publish and to open again, with the evidence that belongs to them."""
