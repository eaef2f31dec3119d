/* The number of threads that may work on one call, and its source. Needs cgo's workers. The GIL
 * must be held in all functions here. torch's number never replaces one that the user has set. */
#include "threads.h"

#include "../../cgo/workers.h"

/* A number from set_num_threads stays, whatever torch says. */
static const char SET[] = "set_num_threads", TORCHS[] = "torch's DataLoader";
static const char *source = "";

void threads_come_from(const char *where) {
    source = where;
}

void threads_set(int threads) {
    gorsqrt_set_threads(threads);
    source = SET;
}

/* A worker process of torch's DataLoader uses torch's number of threads: 1, unless the user sets
 * another there. No event tells that a process becomes such a worker, so every call that may have
 * helpers asks. That takes some 100 ns. */
int threads_ask_torch(void) {
    if (source == SET) return 0;
    PyObject *get_info = imported("torch.utils.data", "get_worker_info");
    PyObject *info = get_info ? PyObject_CallNoArgs(get_info) : NULL;
    if (info && info != Py_None) {
        PyObject *get_threads = imported("torch", "get_num_threads");
        PyObject *threads = get_threads ? PyObject_CallNoArgs(get_threads) : NULL;
        long const n = threads ? PyLong_AsLong(threads) : -1;
        if (n > 0 && n != gorsqrt_threads()) gorsqrt_set_threads(n < WORKERS_MOST ? (int)n : WORKERS_MOST);
        if (n > 0) source = TORCHS;
        Py_XDECREF(threads);
        Py_XDECREF(get_threads);
    }
    Py_XDECREF(info);
    Py_XDECREF(get_info);
    return PyErr_Occurred() ? -1 : 0;
}

PyObject *threads_number(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    if (threads_ask_torch() < 0) return NULL;
    return PyLong_FromLong(gorsqrt_threads());
}

PyObject *threads_source(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    if (threads_ask_torch() < 0) return NULL;
    return PyUnicode_FromString(source);
}
