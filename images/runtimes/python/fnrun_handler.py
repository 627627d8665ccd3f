"""Python functions as on AWS Lambda: finding and loading `module.function`, its
context object, JSON in and out, and leaving. Knows nothing of how events come.

Cheap on purpose: `import json` alone costs a third of a process (it brings re and
enum), so its C core is used directly and json only where that is not enough.
"""

import os
import sys
from time import monotonic

_here = __file__.rpartition("/")[0]

_task_root = ""
request_id = ""  # of the event in hand, for log lines


class Fault(Exception):
    """An error that is the runtime's to name: kind is "Runtime.Something"."""

    def __init__(self, kind, message, trace=None):
        super().__init__(message)
        self.kind = kind
        self.trace = trace  # stackTrace's strings, or None: those of the cause


_modules = dict(sys.modules)  # what an import needs, should a function clear them


def own_module(name):
    """Imports a file that lies beside this one, whatever the function's folder has."""
    for known, module in _modules.items():
        sys.modules.setdefault(known, module)
    sys.path.insert(0, _here)
    try:
        return __import__(name)
    finally:
        sys.path.remove(_here)


def prepare(task_root):
    """Makes the interpreter what a handler expects to be loaded into."""
    global _task_root
    _task_root = task_root
    if sys.path[:1] == [_here]:
        sys.path[0] = task_root
    else:
        sys.path.insert(0, task_root)
    sys.dont_write_bytecode = True  # the function's folder is read-only
    # A process that is killed at its limit must not lose the lines it printed.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    if "logging" in sys.modules:  # a .pth file or sitecustomize was here before
        own_module("fnrun_logging").set_up(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, _LoggingHook)


class _LoggingHook:
    """Sets up logging when the function imports it: who does not, does not pay."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "logging":
            return None
        finders = [finder for finder in sys.meta_path if finder is not _LoggingHook]
        for finder in finders:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        if (spec.origin or "").startswith(_task_root + "/"):
            return spec  # a file of the function that happens to have this name
        loader = spec.loader
        execute = loader.exec_module

        def execute_and_set_up(module):
            if _LoggingHook in sys.meta_path:
                sys.meta_path.remove(_LoggingHook)
            del loader.exec_module
            execute(module)
            own_module("fnrun_logging").set_up(module)

        loader.exec_module = execute_and_set_up
        return spec


def load(handler, task_root):
    """Returns the function that handler names. Raises Fault, or what the module's
    own code raised."""
    path, dot, name = handler.rpartition(".")
    if not (path and dot and name):
        raise Fault("Runtime.MalformedHandlerName",
                    f"Bad handler '{handler}': it must be module.function, as in app.handler", [])
    module_name = path.replace("/", ".")
    _check_conflict(module_name, task_root)
    try:
        __import__(module_name)
    except ImportError as error:
        errors = own_module("fnrun_errors")
        raise errors.import_fault(path, module_name, task_root, error) from error
    except SyntaxError as error:
        errors = own_module("fnrun_errors")
        raise errors.syntax_fault(path, error) from error
    module = sys.modules[module_name]
    function = getattr(module, name, None)
    if not callable(function):
        errors = own_module("fnrun_errors")
        raise errors.missing_handler_fault(path, module, name)
    return function


def _check_conflict(module_name, task_root):
    """A module that the interpreter has loaded already would be taken instead of
    the function's file."""
    loaded = sys.modules.get(module_name)
    if module_name in sys.builtin_module_names or (
            loaded is not None
            and not (getattr(loaded, "__file__", None) or "").startswith(task_root + "/")):
        raise Fault("Runtime.BuiltInModuleConflict",
                    f"Cannot use built-in module {module_name} as a handler module: "
                    f"rename {module_name}.py", [])


def invoke(function, head, body):
    """Calls the handler with the event that body (a buffer) is; returns the
    result's bytes. head: the event's keys, with "deadline"."""
    global request_id
    trace_id = head.get("trace-id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    elif "_X_AMZN_TRACE_ID" in os.environ:
        del os.environ["_X_AMZN_TRACE_ID"]
    context = Context(head, os.environ.get)
    request_id = context.aws_request_id
    return marshal(function(unmarshal(body), context))


# --- the context object ------------------------------------------------------------


class Context:
    """The handler's second argument; attributes and their types as on Lambda."""

    def __init__(self, head, setting):
        name = setting("AWS_LAMBDA_FUNCTION_NAME", "")
        region = setting("AWS_REGION", "us-east-1")
        client = head.get("client-context")
        self.aws_request_id = head.get("request-id", "")
        self.function_name = name
        self.function_version = setting("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.invoked_function_arn = f"arn:aws:lambda:{region}:000000000000:function:{name}"
        self.memory_limit_in_mb = setting("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = setting("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = setting("AWS_LAMBDA_LOG_STREAM_NAME")
        self.client_context = ClientContext(client) if client else None
        self.identity = CognitoIdentity()
        self.tenant_id = head.get("tenant-id")
        self._deadline = head.get("deadline")

    def get_remaining_time_in_millis(self):
        """Milliseconds until the time limit, never less than 0. Without a limit: 0."""
        if self._deadline is None:
            return 0
        return max(0, int((self._deadline - monotonic()) * 1000))

    def log(self, message):
        """Writes message to the log."""
        text = str(message)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def __repr__(self):
        fields = ",".join(f"{key}={value}" for key, value in vars(self).items() if key[0] != "_")
        return f"{type(self).__name__}([{fields}])"


class CognitoIdentity:
    """Nobody in particular: fnrun knows no identity pools."""

    cognito_identity_id = None
    cognito_identity_pool_id = None


class ClientContext:
    """What the caller sent as client context: .custom, .env (dicts) and .client."""

    def __init__(self, text):
        import json
        try:
            data = json.loads(text)
            client = data.get("client")
            self.custom = data.get("custom")
            self.env = data.get("env")
            self.client = Client(client) if client else None
        except (ValueError, AttributeError, RecursionError) as error:
            raise Fault("Runtime.LambdaContextUnmarshalError",
                        f"Unable to parse the client context: {error}", []) from error


class Client:
    """Which installation of which app called."""

    def __init__(self, data):
        for key in ("installation_id", "app_title", "app_version_name", "app_version_code",
                    "app_package_name"):
            setattr(self, key, data.get(key))


# --- JSON ------------------------------------------------------------------------


class _Scanning:
    """What _json.make_scanner wants to know of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def unmarshal(body):
    """The event's value. body: a buffer of UTF-8."""
    try:
        text = str(body, "utf-8", "surrogatepass").strip(" \t\n\r")
        try:
            from _json import make_scanner
            value, end = make_scanner(_Scanning)(text, 0)
            if end == len(text):
                return value
        except (ImportError, AttributeError, TypeError, StopIteration, SystemError):
            pass
        # Another interpreter, or the event is wrong and json says how: without it in
        # memory its C core has no words (SystemError).
        import json
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}", []) from error


def marshal(value):
    """The result's bytes; what is bytes already goes as it is."""
    if isinstance(value, (bytes, bytearray)):
        return value
    try:
        return _dump(value, _no_default)
    except _DecimalFound:
        pass
    except (TypeError, ValueError, RecursionError) as error:
        raise _marshal_fault(error) from error
    try:
        return _dump(value, _raw_decimal)
    except (TypeError, ValueError, RecursionError) as error:
        raise _marshal_fault(error) from error


def _marshal_fault(error):
    return Fault("Runtime.MarshalError", f"Unable to marshal response: {error}", [])


def _dump(value, default):
    """JSON as json.dumps(ensure_ascii=False, allow_nan=False) has it, as UTF-8.
    Lone surrogates, which UTF-8 has no bytes for, stay escaped."""
    raw = default is _raw_decimal
    try:
        from _json import encode_basestring, make_encoder
        encode_string = _encode_raw if raw else encode_basestring
        encoder = make_encoder({}, default, encode_string, None, ": ", ", ", False, False, False)
    except (ImportError, TypeError):
        return _dump_without_core(value)
    return "".join(encoder(value, 0)).encode("utf-8", "backslashreplace")


def _dump_without_core(value):
    """For an interpreter whose json has no C core: a Decimal loses what a float cannot hold."""
    import json

    def default(item):
        try:
            return _no_default(item)
        except _DecimalFound:
            return float(item)

    text = json.dumps(value, default=default, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


class _DecimalFound(Exception):
    """The result has a Decimal: it is written again by the slower way."""


class _Raw(str):
    """A number's text, written without quotes."""


def _encode_raw(text):
    if type(text) is _Raw:
        return str(text)
    from _json import encode_basestring
    return encode_basestring(text)


def _no_default(value):
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        raise _DecimalFound
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _raw_decimal(value):
    if isinstance(value, sys.modules["decimal"].Decimal):
        if not value.is_finite():
            raise ValueError(f"Out of range decimal values are not JSON compliant: {value!r}")
        return _Raw(value)
    return _no_default(value)


# --- errors (the rest of them is in fnrun_errors) -----------------------------------


def describe(error, request_id):
    """The bytes of the error object; writes the error to the log as well."""
    try:
        return own_module("fnrun_errors").describe(error, request_id)
    except MemoryError:
        _release_locals(error)
    return own_module("fnrun_errors").describe(error, request_id)


def _release_locals(error):
    """Gives back what the frames that raised error hold: all the handler's data."""
    trace = error.__traceback__
    while trace is not None:
        try:
            trace.tb_frame.clear()
        except RuntimeError:
            pass  # it is running: one of the runtime's own
        trace = trace.tb_next


# --- leaving -----------------------------------------------------------------------


def flush():
    """Hands on what Python, and where something could have used it C's stdio, holds."""
    flush_streams()
    try:
        if uses_stdio():
            import ctypes
            ctypes.pythonapi.fflush(None)
    except BaseException:
        pass


def flush_streams():
    """Hands on what Python's streams hold."""
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        try:
            getattr(sys, name).flush()
        except BaseException:  # closed, replaced by anything, or its reader is gone
            pass


def uses_stdio():
    """Whether something may have used C's printf: through ctypes, or in a compiled module
    that the function brought."""
    if "ctypes" in sys.modules:
        return True
    root = _task_root + "/"
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and file.endswith(".so") and file.startswith(root):
            return True
    return False


def finish(status):
    """Leaves the process: everything of the interpreter's end that a program can
    notice, without tearing it down (which takes 2 ms). Does not return."""
    modules = sys.modules
    for name, function in (("threading", "_shutdown"), ("atexit", "_run_exitfuncs")):
        if name in modules:
            try:
                getattr(modules[name], function)()
            except BaseException as error:
                sys.excepthook(type(error), error, error.__traceback__)
    flush()
    os._exit(status)
