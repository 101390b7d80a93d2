"""Parts of the capacity planning: the days, the forecast, its score, what follows from it, and how it is shown."""
