"""The only code that talks to people."""
