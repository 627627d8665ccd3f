# The language side of each runtime, staged in runtimes/ as it is installed.
