"""What a run will do, before anything moves: setpoint or recipe, limits, steps, turns of two pumps."""
