"""Grafana dashboards, generated from the flow specification: overview, flows, step detail, the ruler's health."""
