"""Importing this switches the garbage collector off until :func:`gc.enable`.

The imports of torch and MLflow make a million objects that stay; looking for garbage among them
takes a third of the time. A stage's driver imports this first, and so does the server of its
workers, which switch the collector on again before they compute.
"""

import gc

gc.disable()
