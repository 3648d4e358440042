"""The canary drill: tries to reach recordings made for it from everywhere that should fail, and through one grant that
should succeed, and says what came of it. What it expects is its own list of promises, not the services' tables.
"""
