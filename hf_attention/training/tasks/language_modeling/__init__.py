"""Language modelling: running text, word by word."""
