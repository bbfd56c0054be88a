"""What scores say, and what they do not: intervals, verdicts, ranks. Pure functions on arrays.

``tables`` holds the scores of a block; ``moderation`` and ``intervals`` say how sure a mean is;
``comparisons``, ``champions`` and ``ranks`` compare; ``power`` says what more data would decide;
``board`` puts a block's answers together; ``curves`` is what calibration and label need rest on.
docs/statistics.md explains, benchmarks/power.py measures.
"""
