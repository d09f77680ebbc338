"""Front doors: bytes to calls and back; they decide nothing."""
