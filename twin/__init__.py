"""The digital twin of a continuous-flow reactor for perovskite nanocrystals.

Two halves joined by files: a field half (``meshing``, ``fem``, ``flow``, ``transport``, ``campaign``) that needs
dolfinx, and a lab half (``surrogate``, ``crystal``, ``process``, ``rig``) that is pure Python. ``docs/guide.md``
follows the data through them.
"""

__version__ = "0.1.0"

from twin.isolation import isolate

isolate()
