"""The pages that need no Grafana; routes.py is the way in."""
