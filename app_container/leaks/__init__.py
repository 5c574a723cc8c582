"""What the application forgot to close: found, told, and given back where that can be done."""
