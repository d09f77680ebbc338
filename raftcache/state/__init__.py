"""The replicated state machine: pure, total, deterministic."""
