"""People: how they join, their credentials, and the roles that somebody else had to countersign."""
