"""What runs show, side by side."""
