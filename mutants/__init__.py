"""Files that are spoiled on purpose, one place at a time: tests that do not notice are too weak.

python -m mutants [--kind K] [--sample N | --all] [--seed S] [--workers N] [--json] [FILE …]
"""
