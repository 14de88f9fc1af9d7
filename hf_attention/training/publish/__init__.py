"""What a run leaves for others: results, a model card, a repository on the Hub."""
