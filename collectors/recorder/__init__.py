"""Recording inside a Python application; recorder.py is the way in."""
