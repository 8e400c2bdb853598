"""Change a model while it runs, and the random sets such a change is compared with."""
