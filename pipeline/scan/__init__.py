"""Scans that gate: Trivy's findings, the exceptions from them, and what remains."""
