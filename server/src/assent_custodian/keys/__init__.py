"""Vault keys: one per stream, wrapped under a KEK generation. `vault` alone opens what is sealed to them."""
