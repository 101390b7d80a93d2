"""What follows a deployment. Decided here, done by the pipeline."""
