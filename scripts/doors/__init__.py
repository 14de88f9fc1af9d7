"""What the scripts need before they import the package."""
