"""A release of the chart in a cluster: brought there, looked at, switched, taken back.

helm makes and changes objects and keeps the history; kubectl only asks. Whether pods get ready,
and why they do not, is read here, because helm's own waiting says neither.
"""
