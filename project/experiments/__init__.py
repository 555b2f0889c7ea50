"""Many runs: sweeps over settings, and comparisons of what they give."""

from project.experiments.plan import Range, Setting, Study, Sweep, load_sweep

__all__ = ["Range", "Setting", "Study", "Sweep", "load_sweep"]
