"""`python -m assent_server` is `assent-server`."""

from assent_server.cli import main

if __name__ == "__main__":
    main()
