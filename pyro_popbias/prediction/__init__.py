"""What a trained pair says: P(c=1 | do(u,i)), rankings, and posterior tables."""
