"""What several tests lean on: fakes of nodes, real nodes."""
