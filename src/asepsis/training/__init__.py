"""What an honest hospital does with the model it receives."""
