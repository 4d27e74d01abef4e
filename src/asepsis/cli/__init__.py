"""The command line: thin over :mod:`asepsis.api`; heavy imports wait until a command needs them."""
