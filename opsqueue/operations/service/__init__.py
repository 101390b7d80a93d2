"""What belongs to the type `service_restart`."""
