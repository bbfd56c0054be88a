"""Pieces that several methods share. Methods import from here, never from each other.

The rule keeps the pipeline honest: a cell depends on its method's file and on this folder, so an
edit to one method never leaves another method's results stale.
"""
