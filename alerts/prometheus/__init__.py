"""Prometheus rules generated from the flows; rules.py is the way in."""
