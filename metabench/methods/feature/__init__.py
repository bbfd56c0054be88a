"""Methods of the family *feature*, one file each."""
