"""The report of a run, or of one run against another: a page, its pictures and every number."""

from project.visualization.report.files import write_report

__all__ = ["write_report"]
