"""Images as bytes: layers, manifests, layouts and archives.

Nothing in here knows what a Debian package, a wheel or Docker is, and nothing
reads a clock, an environment variable or the network, `registry/` aside.
"""
