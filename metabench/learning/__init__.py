"""Training, pretraining and scoring: of results, DVC and MLflow it knows nothing."""
