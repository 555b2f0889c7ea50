"""Our own implementation of the part of Detectron2's API that this project uses.

Answers for the name ``detectron2`` where the real one isn't installed (see `project`). It knows
nothing of the rest of the project and imports itself relatively. Sub-packages have upstream's
names: config, structures, layers, data, modeling, checkpoint, solver, engine, evaluation, utils,
model_zoo.
"""

__version__ = "0.6"  # the release whose API this follows
