"""The check against real servers: MLServer, a prometheus_client exporter and Prometheus."""
