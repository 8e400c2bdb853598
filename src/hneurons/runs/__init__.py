"""Whole jobs in one folder: the plan, the run and its origin."""
