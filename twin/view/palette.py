"""Colours of pictures, plots and pages. They differ for colour-blind eyes too, and in lightness."""

from __future__ import annotations

INK = "#1f2933"
QUIET = "#6b7885"
GRID = "#dfe4e8"
#: The two streams, in every picture and plot.
ANTISOLVENT, PRECURSOR = "#2b6ca3", "#d9730d"
#: The two ligands: star polymer, OA/OAm.
LIGAND = {"ps": "#0f766e", "oa": "#9d3c72"}
OUTLET = "#3a7d44"
WALL = "#b8c2cc"
#: Between two bounds; a limit that must not be passed.
BAND = "#e9dccd"
WARN = "#b42318"
