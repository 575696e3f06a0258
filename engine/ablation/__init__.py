"""Every system side by side: specs, cells, statistics, tables."""
