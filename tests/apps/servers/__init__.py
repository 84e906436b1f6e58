"""Clients of databases, and clusters: what needs servers of its own, which `make test-apps` installs.

Not run by default. A test starts its server itself, with its data in a temporary folder, and stops it.
"""
