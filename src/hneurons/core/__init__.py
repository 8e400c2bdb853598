"""Types, errors, artifacts and statistics: everything that needs no tensors."""
