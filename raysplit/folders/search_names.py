"""The names of what is in a search's folder."""

SEARCH, TRIALS, TABLE = "search.json", "trials", "trials.parquet"
REFUSED, PICTURE, RECIPES, NETWORKS = "refused.json", "front.png", "recipes", "front"
