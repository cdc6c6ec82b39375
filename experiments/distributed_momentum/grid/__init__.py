"""The grid: the settings of the paper, the cells of its grid, the programs that compute them."""
