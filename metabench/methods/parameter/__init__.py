"""Methods of the family *parameter*, one file each."""
