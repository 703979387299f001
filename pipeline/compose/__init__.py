"""The stack in Compose: what its files say, what is asked of them, and running it.

`compose-spec.json` is the Compose specification's own schema, as compose-go 2.0 has it
(Apache-2.0, see compose-spec.LICENSE); nothing in it was changed.
"""
