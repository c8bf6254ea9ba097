"""Published results, reproduced: one script for each paper, with the figures it gave."""
