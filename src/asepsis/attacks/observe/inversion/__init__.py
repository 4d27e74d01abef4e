"""What gradient inversions share: which update is attacked, how it is explained, and by whom."""
