"""The commands, one file each: parse options, call the package, print the result."""
