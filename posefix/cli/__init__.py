"""The commands, one file each: they parse options, call the package, and print what came of it."""
