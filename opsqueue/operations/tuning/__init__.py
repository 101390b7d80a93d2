"""What belongs to the type `performance_tuning`."""
