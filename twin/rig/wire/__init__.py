"""Constants of the pumps' serial protocols. A driver and its simulator share these, and no code."""
