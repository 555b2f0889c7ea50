"""The page of an exploration, and the files that come with it."""

from project.visualization.exploration.files import write_exploration

__all__ = ["write_exploration"]
