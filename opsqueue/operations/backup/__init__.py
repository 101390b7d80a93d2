"""The parts of `backup_operation`."""
