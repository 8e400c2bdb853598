"""The certified sparse solver: matrices on disk, the L1 path, cross-validation, stability. It knows no neurons."""
