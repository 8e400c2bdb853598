"""Is this answer made up? The detector, baselines on the same rows, and their evaluation."""
