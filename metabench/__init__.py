"""metabench: with few labels in a new domain, meta-learn or transfer, and at what cost?"""

__version__ = "0.1.0"
