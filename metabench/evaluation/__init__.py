"""Running learners on frozen episodes; metrics; statistics."""
