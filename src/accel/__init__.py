"""Container images that start before they are downloaded."""
