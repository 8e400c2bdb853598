"""Scaled models and our benchmarks inside evaluators that people already use: Inspect AI and lm-evaluation-harness."""
