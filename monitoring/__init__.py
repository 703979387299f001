"""The monitor of Accelerapp: a service of its own that watches the application."""

__version__ = "0.1.0"
