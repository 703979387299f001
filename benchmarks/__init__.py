"""Benchmarks: paired runs on the same inputs, reported as ratios."""
