"""Methods of the family *model*, one file each."""
