"""Cells and their keys, the executor, and what the stages call."""
