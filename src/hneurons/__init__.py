"""Find, measure, steer and audit hallucination neurons in open-weight language models."""

__version__ = "0.1.0"
