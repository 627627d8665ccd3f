# The seccomp filter, written by a program that runs while building.
