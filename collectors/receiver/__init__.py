"""OTLP, browsers and events over HTTP and gRPC; server.py is the way in."""
