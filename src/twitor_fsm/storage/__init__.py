"""Durable memory of every crawl: what a store is, and the one that keeps it in a SQL database.

Importing this package imports no third party; `storage.store` needs SQLAlchemy.
"""
