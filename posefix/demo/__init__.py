"""A demonstration on photographs that installed packages ship: no data set, no download."""
