# Compiled at every start, so nothing is here but the way to what is compiled already.
import sys
if getattr(sys.flags, "safe_path", False):
    sys.path.insert(0, __file__.rpartition("/")[0])
import fnrun_frames
del __file__  # else multiprocessing's spawn would run this file again in each child
fnrun_frames.main()
