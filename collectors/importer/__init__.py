"""Observations from files; importer.py is the way in."""
