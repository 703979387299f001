"""Registries: names, credentials, tokens, transport, and the distribution protocol.

The one room of `oci/` that reads the network, a clock and, for credentials, the
environment and a person's files.  Each of them is handed in, so that tests need none.
It follows the OCI distribution specification 1.1 and Docker's token authentication.
"""
