"""The build pipeline: images for any platform, assembled rather than executed."""
