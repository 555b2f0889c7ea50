"""What a set of COCO labels and images is like, in numbers.

Pure functions over plain arrays, one file for each question; `project.data.exploration.explore`
asks all of them, `numbers` hands them on as JSON and CSV, `summary` says the main ones in words.
"""
