"""Finds what is wrong with COCO files and their images; `audit_files` is the way in."""

from project.data.audit.findings import AuditReport, Finding
from project.data.audit.run import audit_files
from project.data.audit.table import summarise

__all__ = ["AuditReport", "Finding", "audit_files", "summarise"]
