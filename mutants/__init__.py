"""Files that are spoiled on purpose, one place at a time: tests that do not notice are too weak.

python -m mutants [--sample N] [--seed S] [--workers N] [FILE …]
"""
