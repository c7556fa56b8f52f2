"""The journal of a run, and its replay by other code."""
