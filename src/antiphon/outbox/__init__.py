"""What rests in a store until a broker takes it, and what hands it over."""
