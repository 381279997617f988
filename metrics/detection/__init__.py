"""How closed windows are judged against a baseline; detector.py is the way in."""
