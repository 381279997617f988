"""The report of a flow, in every format; report.py is the way in."""
