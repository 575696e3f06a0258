"""What maps a row into the aligned space: frozen fronts, heads, and maps in closed form."""
