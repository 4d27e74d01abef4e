"""A small Flower app: hospitals that learn to tell benign from malignant tumors together."""
