"""Networks by modality, each a component that builds a module for a sample's shape."""
