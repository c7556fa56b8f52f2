"""A run: the session and its drives, the watchdog, the one way to stop, and what survives it."""
