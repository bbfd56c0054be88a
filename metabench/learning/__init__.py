"""Training, pretraining and scoring: knows no files and no DVC."""
