"""Runnable examples: the small bank and the demonstration built on it."""
