"""The only code that speaks SQL: functions take and return frozen values."""
