"""Everything that speaks to Valkey (or Redis 7 and newer): connections, key names, scripts, the embedded server."""
