"""What loads a system, and says how fast it answered."""
