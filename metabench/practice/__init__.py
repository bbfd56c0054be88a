"""A user's own data: reading it, running methods on it, using a learner."""
