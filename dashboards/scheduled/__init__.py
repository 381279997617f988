"""Reports made and delivered on a schedule, and their history; reporter.py is the way in."""
