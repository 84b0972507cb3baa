"""Where bookmarks come from. `base` is the contract, `x_api` and `files` are the sources built in."""
