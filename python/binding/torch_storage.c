/* The memory of torch's large results. Needs the pool and gorsqrt/_torch_door.py.
 *
 * torch makes the tensor. Before anything touches its memory, a block of the pool replaces that
 * memory: the storage's DataPtr gets another address and our deleter. Otherwise the storage is
 * torch's own and keeps its allocator, so it can be resized, shared and copied like any other. The
 * thread that drops the memory, whichever it is, gives the block back. Only memory is reused, never
 * a storage.
 *
 * A DataPtr has no C interface. gorsqrt/_torch_door.py finds its place in a storage and tries an
 * exchange on a small tensor. Results keep torch's memory until that has succeeded, and whenever a
 * storage differs from the one examined then. */
#include "torch_storage.h"
#include "pool.h"
#include "torch_door.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The start of a c10::DataPtr. */
typedef struct {
    void *data;
    void (*deleter)(void *);
    void *context; /* the deleter's argument */
} data_ptr;

enum { HEAD = 64 }; /* most bytes before the DataPtr in a storage */

typedef struct {
    Py_ssize_t storage_at, data_at; /* bytes from a TensorImpl to its storage's address, and from a storage to its DataPtr */
    char head[HEAD];                /* the first bytes of a storage with one owner: its class and its counts */
    void (*deleter)(void *);        /* torch's allocator's deleter */
} layout;

static layout known;
static bool open, shut; /* shut: this torch's storages are not as _torch_door.py knows them */

static int32_t (*storage_size)(void **, int64_t *);
static bool (*profiles_memory)(void);

/* Whether this torch has the two functions; looks for them once. */
static bool find(void) {
    static bool looked;
    if (!looked) {
        void *const size = torch_symbol("aoti_torch_get_storage_size");
        void *const profiles = torch_symbol("_ZN3c1022memoryProfilingEnabledEv");
        memcpy(&storage_size, &size, sizeof size);
        memcpy(&profiles_memory, &profiles, sizeof profiles);
        looked = true;
    }
    return storage_size != NULL;
}

/* The DataPtr of a fresh tensor, if its storage has no other owner and its memory is `data`, from
 * torch's allocator; else NULL. */
static data_ptr *own_data(const layout *l, const void *impl, const void *data) {
    char *storage;
    memcpy(&storage, (const char *)impl + l->storage_at, sizeof storage);
    if (storage == NULL || memcmp(storage, l->head, (size_t)l->data_at) != 0) return NULL;
    data_ptr *const own = (data_ptr *)(storage + l->data_at);
    return own->data == data && own->context == data && own->deleter == l->deleter ? own : NULL;
}

static void exchange(data_ptr *own, void *memory, void (*deleter)(void *)) {
    data_ptr const before = *own;
    *own = (data_ptr){memory, deleter, memory};
    before.deleter(before.context);
}

int torch_pool(void *impl, void **data) {
    int64_t bytes;
    if (!find() || storage_size(&impl, &bytes) || bytes < POOLED) return 0;
    if (!open && !shut && profiles_memory) {
        shut = !torch_find_out("open_storages", NULL);
        if (PyErr_Occurred()) return -1;
    }
    /* A memory profiler sees only torch's blocks, so don't exchange any while one runs. */
    data_ptr *const own = open && !profiles_memory() ? own_data(&known, impl, *data) : NULL;
    void *const memory = own ? pool_take((size_t)bytes) : NULL;
    if (memory) {
        exchange(own, memory, pool_give);
        *data = memory;
    } else {
        pool_prepare(*data, (size_t)bytes);
    }
    return 0;
}

/* For gorsqrt/_torch_door.py. */

/* Memory that counts how often it is given back. */
typedef struct {
    int given;
    _Alignas(16) char memory[]; /* as malloc's memory */
} trial;

static trial *trial_of(void *memory) {
    return (trial *)((char *)memory - offsetof(trial, memory));
}

static void give_trial(void *memory) {
    trial_of(memory)->given++;
}

static PyObject *try_py(PyObject *module, PyObject *args) {
    (void)module;
    layout l;
    PyObject *head;
    Py_ssize_t bytes;
    unsigned long long deleter, impl, data;
    if (!PyArg_ParseTuple(args, "nSKKKn", &l.storage_at, &head, &deleter, &impl, &data, &bytes)) return NULL;
    l.data_at = PyBytes_Size(head);
    data_ptr *own = NULL;
    if (l.data_at <= HEAD) {
        memcpy(l.head, PyBytes_AsString(head), (size_t)l.data_at);
        memcpy(&l.deleter, &deleter, sizeof l.deleter);
        own = own_data(&l, (void *)(uintptr_t)impl, (void *)(uintptr_t)data);
    }
    if (own == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: torch's storages are not all alike");
        return NULL;
    }
    trial *const block = malloc(sizeof *block + (size_t)bytes);
    if (block == NULL) return PyErr_NoMemory();
    block->given = 0;
    known = l;
    exchange(own, block->memory, give_trial);
    return PyLong_FromVoidPtr(block->memory);
}

static PyObject *open_py(PyObject *module, PyObject *address) {
    (void)module;
    void *const memory = PyLong_AsVoidPtr(address);
    if (memory == NULL) return NULL;
    if (trial_of(memory)->given != 1) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: torch has not given a storage's memory back once");
        return NULL;
    }
    free(trial_of(memory));
    open = true;
    Py_RETURN_NONE;
}

int torch_storage_install(PyObject *module) {
    /* Static: the functions refer to it until the process ends. */
    static PyMethodDef methods[] = {
        {"torch_try_storages", try_py, METH_VARARGS, "Exchanges the memory of a fresh tensor; the address of what it has now."},
        {"torch_open_storages", open_py, METH_O,
         "Lets large results have memory of the pool, once that address is free again."},
        {NULL, NULL, 0, NULL},
    };
    return PyModule_AddFunctions(module, methods);
}
