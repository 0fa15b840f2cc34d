"""What users' disks hold, as it comes: links, tables, names of files, of people and of expressions."""
