/* _gate: the gate (isolate/gate.h) for the python runtime, see fnrun_zygote.py, and the
 * language zygote, see fnrun_language.py. On the
 * limited API and with raw system calls alone, without a single symbol of libc, so that one
 * build fits the interpreter of any image. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "images/runtimes/gate_client.h"
#include "images/runtimes/language_client.h"

#define BUFFER (64ul << 10) /* an event this large needs no second call */

static struct gate_client client;
/* Never written before F: an untouched page costs less than a copied one. */
static char buffer[BUFFER] __attribute__((aligned(4096)));

/* become_event(): Z waits in here; returns in each F. Between the interpreter's two halves of
 * a fork nothing of Python runs, not in Z and not in Z_s: neither writes to an object, and
 * every F is, for the interpreter, the child of one fork that was made in Z. */
static PyObject *become_event(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    gate_prepare(&client);
    PyOS_BeforeFork();
    gate_become_event(&client);
    PyOS_AfterFork_Child();
    Py_RETURN_NONE;
}

/* event() -> bytes, None for a trial. Does not return when there is none to come. */
static PyObject *event(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    long answer = gate_event(buffer, BUFFER);
    if (answer & GATE_TRIAL)
        Py_RETURN_NONE;
    if ((unsigned long)answer <= BUFFER - GATE_HEAD)
        return PyBytes_FromStringAndSize(buffer + GATE_HEAD, answer);
    PyObject *large = PyBytes_FromStringAndSize(NULL, answer);
    if (large && gate(GATE_MORE, PyBytes_AsString(large), (unsigned long)answer, 0) < 0)
        gate_exit(0);
    return large;
}

/* reply(data, kind): data is bytes or bytearray. Does not return. */
static PyObject *reply(PyObject *module, PyObject *args) {
    PyObject *data;
    long kind;
    (void)module;
    if (!PyArg_ParseTuple(args, "Ol", &data, &kind))
        return NULL;
    if (PyByteArray_Check(data))
        gate_reply(PyByteArray_AsString(data), (unsigned long)PyByteArray_Size(data), kind);
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(data, &text, &length) < 0)
        return NULL;
    gate_reply(text, (unsigned long)length, kind);
}

/* failed(object): the function could not be loaded. Does not return. */
static PyObject *failed(PyObject *module, PyObject *args) {
    const char *text;
    Py_ssize_t length;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#", &text, &length))
        return NULL;
    gate_failed(text, (unsigned long)length);
}

/* collapse(address, length) -> 0 or a negative errno, of madvise(MADV_COLLAPSE). */
static PyObject *collapse(PyObject *module, PyObject *args) {
    unsigned long long address, length;
    (void)module;
    if (!PyArg_ParseTuple(args, "KK", &address, &length))
        return NULL;
    return PyLong_FromLong(
        gate_syscall(__NR_madvise, (long)address, (long)length, MADV_COLLAPSE, 0, 0));
}

static long map_fixed(unsigned long address, unsigned long length, int fd, unsigned long offset) {
    const long protection = 1 /* PROT_READ */, flags = 0x12 /* MAP_PRIVATE | MAP_FIXED */;
#if defined __x86_64__
    long result;
    register long r10 __asm__("r10") = flags;
    register long r8 __asm__("r8") = fd;
    register long r9 __asm__("r9") = (long)offset;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(__NR_mmap), "D"(address), "S"(length), "d"(protection), "r"(r10),
                       "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = __NR_mmap;
    register long x0 __asm__("x0") = (long)address;
    register long x1 __asm__("x1") = (long)length;
    register long x2 __asm__("x2") = protection;
    register long x3 __asm__("x3") = flags;
    register long x4 __asm__("x4") = fd;
    register long x5 __asm__("x5") = (long)offset;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#endif
}

/* unshare(address, length, fd, offset) -> 0 or a negative errno: maps a file, for reading,
 * privately where it is mapped already. */
static PyObject *unshare_mapping(PyObject *module, PyObject *args) {
    unsigned long long address, length, offset;
    int fd;
    (void)module;
    if (!PyArg_ParseTuple(args, "KKiK", &address, &length, &fd, &offset))
        return NULL;
    long result =
        map_fixed((unsigned long)address, (unsigned long)length, fd, (unsigned long)offset);
    return PyLong_FromLong(result < 0 && result > -4096 ? result : 0);
}

/* collapse_later(address, length) -> 0, or -1: there are too many. length: a huge page's. */
static PyObject *collapse_later(PyObject *module, PyObject *args) {
    unsigned long long address, length;
    (void)module;
    if (!PyArg_ParseTuple(args, "KK", &address, &length))
        return NULL;
    if (client.huge_count == GATE_HUGE_PAGES || length != GATE_HUGE)
        return PyLong_FromLong(-1);
    client.huge[client.huge_count++] = (unsigned long)address;
    return PyLong_FromLong(0);
}

/* flush_c(address): calls fflush(NULL), which is at that address. */
static PyObject *flush_c(PyObject *module, PyObject *args) {
    unsigned long long address;
    (void)module;
    if (!PyArg_ParseTuple(args, "K", &address))
        return NULL;
    int (*flush)(void *) = (int (*)(void *))(unsigned long)address;
    flush(0);
    Py_RETURN_NONE;
}

/* seed(address, entropy): calls OpenSSL's RAND_add, which is at that address. */
static PyObject *seed(PyObject *module, PyObject *args) {
    unsigned long long address;
    const char *entropy;
    Py_ssize_t length;
    (void)module;
    if (!PyArg_ParseTuple(args, "Ky#", &address, &entropy, &length))
        return NULL;
    void (*add)(const void *, int, double) =
        (void (*)(const void *, int, double))(unsigned long)address;
    add(entropy, (int)length, (double)length);
    Py_RETURN_NONE;
}

static struct language_client language;

/* serve(socket, rseq_offset, rseq_size), the addresses of libc's two or 0 -> whether a request is
 * there already: the language zygote stays in here; returns in each of its children that will
 * become a zygote. For the interpreter all of them are the child of one fork, as with become_event.
 */
static PyObject *serve(PyObject *module, PyObject *args) {
    unsigned long long offset, size;
    (void)module;
    if (!PyArg_ParseTuple(args, "iKK", &language.socket, &offset, &size))
        return NULL;
    language.rseq_offset = (const long *)(unsigned long)offset;
    language.rseq_size = (const int *)(unsigned long)size;
    gate_prepare(&client);
    language.tid_address = client.tid_address;
    language.robust_head = client.robust_head;
    language.robust_length = client.robust_length;
    PyOS_BeforeFork();
    int asked = language_serve(&language);
    PyOS_AfterFork_Child();
    return PyBool_FromLong(asked);
}

/* become_zygote(map, auxv) -> bytes: such a child waits in here for its request; returns as a
 * zygote with its environment variables as they came. map: struct prctl_mm_map of this
 * process, auxv: its /proc/self/auxv. To the interpreter it is the same process, with
 * another number. */
static PyObject *become_zygote(PyObject *module, PyObject *args) {
    static unsigned long auxv[64];
    struct prctl_mm_map map;
    const char *map_bytes, *auxv_bytes;
    Py_ssize_t map_size, auxv_size;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#", &map_bytes, &map_size, &auxv_bytes, &auxv_size))
        return NULL;
    if (map_size != sizeof map || auxv_size > (Py_ssize_t)sizeof auxv) {
        PyErr_SetString(PyExc_ValueError, "map or auxv is of another size");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < map_size; i++)
        ((char *)&map)[i] = map_bytes[i];
    for (Py_ssize_t i = 0; i < auxv_size; i++)
        ((char *)auxv)[i] = auxv_bytes[i];
    map.auxv = (void *)auxv;
    map.auxv_size = (unsigned)auxv_size;
    language_become_zygote(&language, &map);
    return PyBytes_FromStringAndSize(language.environment, (Py_ssize_t)language.start.environment);
}

static PyMethodDef functions[] = {
    {"serve", serve, METH_VARARGS, NULL},
    {"become_zygote", become_zygote, METH_VARARGS, NULL},
    {"become_event", become_event, METH_NOARGS, NULL},
    {"event", event, METH_NOARGS, NULL},
    {"reply", reply, METH_VARARGS, NULL},
    {"failed", failed, METH_VARARGS, NULL},
    {"collapse", collapse, METH_VARARGS, NULL},
    {"unshare", unshare_mapping, METH_VARARGS, NULL},
    {"collapse_later", collapse_later, METH_VARARGS, NULL},
    {"flush_c", flush_c, METH_VARARGS, NULL},
    {"seed", seed, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_gate", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__gate(void);
PyMODINIT_FUNC PyInit__gate(void) {
    return PyModule_Create(&definition);
}
