"""The command line: one file for each group of verbs. Each verb returns its result as JSON-like data."""
