"""What a run is put together from: the engine's options, its client, its place on record."""
