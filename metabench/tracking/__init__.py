"""MLflow: runs, models, and which learner is registered."""
