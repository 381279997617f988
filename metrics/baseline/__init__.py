"""What is normal for a scope, learnt from its history; baseline.py is the way in."""
