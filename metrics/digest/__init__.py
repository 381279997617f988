"""The digest of a series' day: every window in a few bytes, as learning needs it; day.py is the way in."""
