"""A third-party package that adds components to asepsis."""
