"""The tasks, thin: flags become one call, and what it returns is printed."""
