"""Importing this reads the code of cells as it is now, for keys.

The server of a stage's workers imports it with that code: what is edited while the stage runs is in
no worker yet, and so must not be in its keys.
"""

from metabench.pipeline.fingerprint import code_fingerprint

code_fingerprint("metabench.pipeline.evaluating", "metabench.learning.pretraining")
