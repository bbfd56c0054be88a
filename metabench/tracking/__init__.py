"""MLflow, and only here: runs, models, and which learner is served."""
