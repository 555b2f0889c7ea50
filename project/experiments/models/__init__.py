"""Models of any kind on one footing: instances flattened to pixels, on the same images and classes.

``runs`` reads run folders, ``footing`` finds what they have in common, ``counts`` counts pixels,
``compare`` makes figures with intervals of them, ``cost`` measures the models themselves, and
``files`` writes a page of it all.
"""

from project.experiments.models.compare import ModelComparison, compare_models

__all__ = ["ModelComparison", "compare_models"]
