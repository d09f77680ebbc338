"""Which keys give way when memory is short: what was used, by whom, and what goes next."""
