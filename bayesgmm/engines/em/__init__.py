"""EM, from the search for starts to the optimum."""
