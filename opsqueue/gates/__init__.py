"""Whether we may, now: one gate per file, each a function from evidence to a verdict.

The order of the catalogue is the order in which people read the reasons; all are asked each time.
"""
