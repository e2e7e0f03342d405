"""What a computation will hold in memory and cost, told from its traced graph, before anything is computed."""
