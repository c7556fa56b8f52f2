"""Simulated pumps, byte for byte on a simulated line, with faults to inject. No driver imports any of this."""
