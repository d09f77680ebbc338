"""The client: endpoints, retries, idempotency keys. A stranger to the server."""
