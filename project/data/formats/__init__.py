"""Readers of other datasets: each gives COCO documents, see `project.data.formats.document`."""
