"""One file per change of the tables, each with the way up; there is no way down: restore a backup."""
