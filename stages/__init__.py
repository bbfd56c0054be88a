"""Thin scripts, one per DVC stage; all logic is in the package."""
