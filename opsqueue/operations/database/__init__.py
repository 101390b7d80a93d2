"""The parts of `database_maintenance`: parameters, the commands of each engine, verdicts, findings."""
