"""Debian packages: signed metadata in, the exact set of `.deb` files an image needs out."""
