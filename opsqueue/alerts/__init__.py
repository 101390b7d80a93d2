"""Whether somebody should hear of it: rules, states, groups, silences, escalation; all of it pure."""
