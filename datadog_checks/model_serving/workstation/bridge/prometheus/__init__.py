"""In from Prometheus, through its HTTP API or by its remote write, and out to Prometheus, as an exposition."""
