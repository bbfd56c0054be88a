"""Methods of the family *control*, one file each."""
