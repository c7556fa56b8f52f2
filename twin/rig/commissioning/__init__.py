"""First contact with real pumps: which are there, and whether they do what the simulator assumes."""
