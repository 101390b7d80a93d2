"""The parts of the operation type `health_check`: what can be checked, conditions, judgement, score."""
