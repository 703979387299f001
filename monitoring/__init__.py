"""The monitor of Accelerapp: a service of its own that watches the application."""
