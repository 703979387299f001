"""The chart: what it says, its archive to the byte, and bringing it to registries without helm."""
