"""After a restore the door stays shut until log, orders and people's own devices have told what the backup forgot."""
