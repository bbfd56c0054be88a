"""Importing this reads the code of cells as it is now, for keys.

The server that forks a stage's workers has imported that code (or each cell would spend two seconds
on torch), and this with it: what is edited while the stage runs is in no worker, and so must not be
in its keys.
"""

from metabench.pipeline.fingerprint import code_fingerprint

code_fingerprint("metabench.pipeline.evaluating", "metabench.learning.pretraining")
