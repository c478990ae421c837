"""What all actions share: their context, requests, the names of points, and patience."""
