"""Screens: drop, clip, weigh or distrust single updates before the rule sees them."""
