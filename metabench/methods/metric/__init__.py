"""Methods of the family *metric*, one file each."""
