"""The `assent-server` command: starts the services, alone or together, and does what their operators do."""
