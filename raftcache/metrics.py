"""Plain counters that the hot path may touch, and the collector that shows them to Prometheus."""
