"""Expected statistics of rows under a mixture, by one pass over them."""
