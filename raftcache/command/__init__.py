"""The words of the replicated log: commands, replies, their bytes and their limits. No IO."""
