"""Pure functions over arrays: utility, attack success, detection, leakage, intervals."""
