"""What people look at: reports, pages, HTTP endpoints, Grafana dashboards."""
