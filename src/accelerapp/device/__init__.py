"""The device description: what it may say, and what it means."""
