"""What Prometheus scrapes; exposition.py is the way in."""
