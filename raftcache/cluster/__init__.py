"""Who the members are, how they start, how they are."""
