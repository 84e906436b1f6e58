"""Tulipa's Python tests. A package, so that test files may share names and use relative imports."""
