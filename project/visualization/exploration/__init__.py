"""The page of an exploration, and the files that come with it."""

from project.visualization.exploration.files import SplitSource, write_exploration

__all__ = ["SplitSource", "write_exploration"]
