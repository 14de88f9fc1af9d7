"""The suite that every model goes through: models join by a factory, configurations by an axis."""
