"""Other backgrounds behind the people, or whatever else, in photographs and videos."""

from project.applications.background.backdrops import BlurBackdrop, ColorBackdrop, ImageBackdrop
from project.applications.background.compose import composite, cut_out, object_colors
from project.applications.background.harmonise import harmonise
from project.applications.background.replace import Look, replace_background
from project.applications.background.smoothing import AlphaSmoother

__all__ = [
    "AlphaSmoother",
    "BlurBackdrop",
    "ColorBackdrop",
    "ImageBackdrop",
    "Look",
    "composite",
    "cut_out",
    "harmonise",
    "object_colors",
    "replace_background",
]
