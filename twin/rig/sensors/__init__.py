"""Telemetry: what the rig measures besides its pumps."""
