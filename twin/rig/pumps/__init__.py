"""Syringe pumps: what any of them can do, the drivers of each family, and the catalogues of models and syringes."""
