"""The daemon's groups of rows, in the order in which they run."""
import first
import lateness
import memory
import steps
import warm

GROUPS = warm.GROUPS + first.GROUPS + memory.GROUPS + lateness.GROUPS + steps.GROUPS
