"""Methods of the family *optimisation*, one file each."""
