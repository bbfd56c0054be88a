"""Methods of the family *hybrid*, one file each."""
