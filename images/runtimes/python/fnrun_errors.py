"""Error objects, loaded when something went wrong. No library module is imported
here: a file of the function could stand in its place, and memory may be short.
"""

import os
import sys

import fnrun_handler
from fnrun_handler import Fault

_here = __file__.rpartition("/")[0]
_most_repeats = 3  # of one line of a trace, as in traceback.format_list

# Where the name to install is not the name to import.
_packages = {
    "PIL": "Pillow", "yaml": "PyYAML", "cv2": "opencv-python-headless", "bs4": "beautifulsoup4",
    "sklearn": "scikit-learn", "dateutil": "python-dateutil", "Crypto": "pycryptodome",
    "jwt": "PyJWT", "dotenv": "python-dotenv", "attr": "attrs", "OpenSSL": "pyOpenSSL",
    "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient", "docx": "python-docx",
}


def describe(error, request_id):
    """The error object's bytes, and a line and the trace in the log, as on Lambda."""
    kind, message, trace = _parts(error, request_id)
    _log(kind, message, trace)
    return fnrun_handler.marshal({"errorMessage": message, "errorType": kind,
                                  "requestId": request_id, "stackTrace": trace})


def _parts(error, request_id):
    if isinstance(error, Fault):
        trace = error.trace
        if trace is None:
            trace = format_trace(error.__cause__.__traceback__)
        return error.kind, str(error), trace
    trace = format_trace(error.__traceback__)
    if isinstance(error, SystemExit):
        return "Runtime.ExitError", _exit_message(error, request_id), trace
    try:
        message = str(error)
    except MemoryError:
        raise
    except BaseException as failure:
        message = f"<str() of this error failed: {type(failure).__name__}>"
    return type(error).__name__, message, trace


def _exit_message(error, request_id):
    code = error.code
    if code is None or code == 0:
        return f"RequestId: {request_id} Error: Runtime exited without providing a reason"
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    return f"RequestId: {request_id} Error: Runtime exited with error: exit status {code & 255}"


def _log(kind, message, trace):
    try:
        lines = f"[ERROR] {kind}: {message}\n" if message else f"[ERROR] {kind}\n"
        if trace:
            lines += "Traceback (most recent call last):\n" + "".join(trace)
        sys.stdout.write(lines if lines.endswith("\n") else lines + "\n")
    except MemoryError:
        raise
    except Exception:
        pass  # the handler closed or replaced stdout


def format_trace(trace):
    """Strings as traceback.format_list makes them of (file, line, name, text), without
    the frames above the function's own code."""
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    lines, sources = [], {}
    last, repeats = None, 0
    while trace is not None:
        code = trace.tb_frame.f_code
        entry = (code.co_filename, trace.tb_lineno, code.co_name)
        if entry != last:
            _note_repeats(lines, repeats)
            last, repeats = entry, 0
        repeats += 1
        if repeats <= _most_repeats:
            lines.append(_format_entry(entry, sources))
        trace = trace.tb_next
    _note_repeats(lines, repeats)
    return lines


def _is_ours(file):
    return file.startswith(_here + "/") or file.startswith("<frozen importlib")


def _note_repeats(lines, repeats):
    more = repeats - _most_repeats
    if more > 0:
        lines.append(f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n")


def _format_entry(entry, sources):
    file, number, name = entry
    if file not in sources:
        sources[file] = _read_lines(file)
    text = f'  File "{file}", line {number}, in {name}\n'
    source = sources[file]
    if 0 < number <= len(source):
        line = source[number - 1].decode("utf-8", "replace").strip()
        if line:
            text += f"    {line}\n"
    return text


def _read_lines(file):
    try:
        with open(file, "rb") as source:
            return source.read().split(b"\n")
    except (OSError, ValueError):
        return []


def import_fault(path, module_name, task_root, error):
    """The handler's module, or one that it imports, is missing or broken."""
    message = f"Unable to import module '{path}': {error}"
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    trace = None
    if missing is None:
        pass
    elif module_name == missing or module_name.startswith(missing + "."):
        message += f". {_no_such_file(path, task_root)}"
        trace = []
    elif missing.partition(".")[0] not in sys.modules:
        top = missing.partition(".")[0]
        message += (f". Put the package into the function's folder: "
                    f"pip install --target . {_packages.get(top, top)}")
    return Fault("Runtime.ImportModuleError", message, trace)


def _no_such_file(path, task_root):
    folder = os.path.dirname(os.path.join(task_root, path))
    try:
        names = sorted(n[:-3] for n in os.listdir(folder) if n.endswith(".py"))
    except OSError:
        names = []
    has = ", ".join(names[:10]) if names else "none"
    return (f"The function's folder has no {path}.py (modules there: {has}); the handler is "
            f"module.function, set in function.ini as [function] handler")


def syntax_fault(path, error):
    """The source cannot be compiled."""
    text = (error.text or "").strip()
    trace = [f'  File "{error.filename}" Line {error.lineno}\n    {text}\n']
    message = f"Syntax error in module '{path}': {error}"
    return Fault("Runtime.UserCodeSyntaxError", message, trace)


def missing_handler_fault(path, module, name):
    """The module has no such function."""
    if hasattr(module, name):
        return Fault("Runtime.HandlerNotFound",
                     f"Handler '{name}' on module '{path}' is not a function", [])
    function = type(missing_handler_fault)
    has = [key for key, value in vars(module).items()
           if isinstance(value, function) and value.__module__ == module.__name__]
    hint = f" (functions there: {', '.join(has[:10])})" if has else " (it has no functions)"
    return Fault("Runtime.HandlerNotFound",
                 f"Handler '{name}' missing on module '{path}'{hint}", [])
