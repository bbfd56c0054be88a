"""Methods of the family *transductive*, one file each."""
