"""Where the files in layers come from: Debian packages, wheels, bytecode, the project.

Nothing in here knows what an OCI image is.
"""
