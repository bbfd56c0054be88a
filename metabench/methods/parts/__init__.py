"""Pieces that several methods share. Methods import from here, never from each other.

The rule keeps edits apart: a cell depends on its method's file and on what that imports, so an edit
to one method retrains no other.
"""
