"""All of Ray: plan, actors, coordinator, progress, shutdown."""
