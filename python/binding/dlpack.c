/* Arrays of the DLPack protocol, as a consumer. (memory.c is a producer.) Needs Go for work on CUDA
 * devices, and memory.c for fresh results.
 *
 * A producer's __dlpack__ answers with a capsule of a tensor. The consumer that takes the tensor
 * out renames the capsule and must call the tensor's deleter exactly once, whatever happens next.
 * Here the operand has this duty from the renaming on, until dlpack_hold takes it over. */
#include "dlpack.h"
#include "buffer.h"
#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The names of capsules whose tensor has been taken out. */
static const char used_unversioned_name[] = "used_dltensor", used_versioned_name[] = "used_dltensor_versioned";

/* DLPack's type codes: numpy's kind if it has one, and the name. The bits follow a name without
 * digits. */
static const struct {
    char kind;
    const char *name;
} code[] = {
    {'i', "int"},         {'u', "uint"},          {'f', "float"},       {0, "opaque"},          {0, "bfloat"},
    {'c', "complex"},     {'b', "bool"},          {0, "float8_e3m4"},   {0, "float8_e4m3"},     {0, "float8_e4m3b11fnuz"},
    {0, "float8_e4m3fn"}, {0, "float8_e4m3fnuz"}, {0, "float8_e5m2"},   {0, "float8_e5m2fnuz"}, {0, "float8_e8m0fnu"},
    {0, "float6_e2m3fn"}, {0, "float6_e3m2fn"},   {0, "float4_e2m1fn"},
};
enum { DL_CODES = sizeof code / sizeof *code };

static int32_t where(int32_t device_type) {
    switch (device_type) {
        case DL_CPU:
        case DL_CUDA_HOST:
        case DL_ROCM_HOST: return CPU; /* the last two are the CPU's memory, pinned for a device */
        case DL_CUDA:
        case DL_CUDA_MANAGED: return CUDA;
        default: return ELSEWHERE;
    }
}

/* Asks the object for its device, if it has __dlpack_device__; the tensor will name it too. An
 * object that is refused for its device is asked nothing else. */
static int ask_device(operand *o) {
    int const can = has_attribute((PyObject *)Py_TYPE(o->object), "__dlpack_device__");
    if (can <= 0) return can;
    PyObject *device = PyObject_CallMethod(o->object, "__dlpack_device__", NULL);
    if (device == NULL) return -1;
    if (!PyTuple_Check(device) || PyTuple_Size(device) != 2) {
        PyErr_SetString(PyExc_BufferError, "__dlpack_device__ must return a pair of a device's type and number");
        Py_DECREF(device);
        return -1;
    }
    long long const type = PyLong_AsLongLong(PyTuple_GetItem(device, 0));
    long long const number = type == -1 && PyErr_Occurred() ? 0 : PyLong_AsLongLong(PyTuple_GetItem(device, 1));
    Py_DECREF(device);
    if (PyErr_Occurred()) return -1;
    o->array.device = type == (int32_t)type && number == (int32_t)number ? where((int32_t)type) : ELSEWHERE;
    if (o->array.device == CUDA) o->array.index = (int32_t)number;
    return 0;
}

/* The object's capsule, for use on a stream unless that is 0. If the tensor is to be written, it
 * asks for no copy. Producers older than version 1.0 know no argument but the stream. */
static PyObject *ask_capsule(PyObject *object, bool written, uintptr_t stream) {
    PyObject *method = PyObject_GetAttrString(object, "__dlpack__");
    PyObject *nothing = method ? PyTuple_New(0) : NULL;
    PyObject *old = !nothing ? NULL : stream ? Py_BuildValue("{sK}", "stream", (unsigned long long)stream) : PyDict_New();
    PyObject *wishes = old ? PyDict_Copy(old) : NULL;
    PyObject *version = wishes ? Py_BuildValue("(ii)", DL_MAJOR, DL_MINOR) : NULL;
    PyObject *capsule = NULL;
    if (version && PyDict_SetItemString(wishes, "max_version", version) == 0 &&
        (!written || PyDict_SetItemString(wishes, "copy", Py_False) == 0)) {
        capsule = PyObject_Call(method, nothing, wishes);
        if (capsule == NULL && (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError) ||
                                PyErr_ExceptionMatches(PyExc_NotImplementedError))) {
            PyErr_Clear();
            capsule = PyObject_Call(method, nothing, old);
        }
    }
    Py_XDECREF(version);
    Py_XDECREF(wishes);
    Py_XDECREF(old);
    Py_XDECREF(nothing);
    Py_XDECREF(method);
    return capsule;
}

static void delete(void *managed, bool versioned) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* a deleter may change the exception that is set */
    if (versioned) {
        dl_versioned *v = managed;
        if (v->deleter) v->deleter(v);
    } else {
        dl_unversioned *u = managed;
        if (u->deleter) u->deleter(u);
    }
    if (PyErr_Occurred()) PyErr_WriteUnraisable(NULL);
    PyErr_Restore(type, value, traceback);
}

static void give_back(operand *o) {
    delete(o->managed, o->versioned);
    o->managed = NULL;
    o->give_back = NULL;
}

/* Takes the tensor out of its capsule. 0, or -1 with an exception set and the capsule as it was. */
static int open_capsule(operand *o, PyObject *capsule) {
    if (!PyCapsule_CheckExact(capsule)) {
        PyErr_Format(PyExc_BufferError, "__dlpack__ must return a capsule, not %R", (PyObject *)Py_TYPE(capsule));
        return -1;
    }
    o->versioned = PyCapsule_IsValid(capsule, DL_VERSIONED);
    if (!o->versioned && !PyCapsule_IsValid(capsule, DL_UNVERSIONED)) {
        const char *name = PyCapsule_GetName(capsule);
        PyErr_Format(PyExc_BufferError, "__dlpack__ must return a capsule named '%s' or '%s', not '%s'", DL_VERSIONED,
                     DL_UNVERSIONED, name ? name : "");
        return -1;
    }
    void *const managed = PyCapsule_GetPointer(capsule, o->versioned ? DL_VERSIONED : DL_UNVERSIONED);
    if (PyCapsule_SetName(capsule, o->versioned ? used_versioned_name : used_unversioned_name) < 0) return -1;
    o->managed = managed;
    o->give_back = give_back;
    return 0;
}

static int32_t tensor_dtype(const dl_tensor *t) {
    if (t->dtype.lanes != 1 || t->dtype.code >= DL_CODES || t->dtype.bits % 8 != 0) return GORSQRT_DTYPES;
    if (t->dtype.code == DL_BFLOAT) return t->dtype.bits == 16 ? GORSQRT_BF16 : GORSQRT_DTYPES;
    return kind_dtype(code[t->dtype.code].kind, t->dtype.bits / 8);
}

/* Names an element type that has no kernel, as numpy would: "float128", and "float32x4" for
 * vectors. */
static int name_type(operand *o, const dl_tensor *t) {
    unsigned const bits = t->dtype.bits, lanes = t->dtype.lanes, type = t->dtype.code;
    PyObject *name = type >= DL_CODES    ? PyUnicode_FromFormat("code %u of %u bits", type, bits)
                     : type >= DL_FLOAT8 ? PyUnicode_FromString(code[type].name)
                                         : PyUnicode_FromFormat("%s%u", code[type].name, bits);
    PyObject *full = name && lanes != 1 ? PyUnicode_FromFormat("%Ux%u", name, lanes) : Py_XNewRef(name);
    int const failed = full ? operand_name_type(o, full) : -1;
    Py_XDECREF(full);
    Py_XDECREF(name);
    return failed;
}

/* Reads shape, strides and address of a tensor whose element type has a kernel. The flaw in them,
 * or NULL. */
static const char *read_layout(operand *o, const dl_tensor *t) {
    int64_t const size = gorsqrt_item_size[o->array.dtype];
    if (t->ndim > 0 && t->shape == NULL) return "shape is NULL";
    bool fits = true;
    for (int d = 0; d < t->ndim; d++) {
        o->shape[d] = t->shape[d];
        if (t->strides) fits &= !__builtin_mul_overflow(t->strides[d], size, &o->strides[d]);
    }
    if (t->strides == NULL) fits = operand_c_order(o, size);
    extent e;
    const char *const flaw = operand_measure(&o->array, &e);
    if (flaw) return flaw;
    if (!fits) return "shape and strides are too large";
    if (e.bytes > 0 && t->data == NULL) return "data is NULL";
    /* The producer keeps this memory in place until the deleter is called. */
    uintptr_t const first = (uintptr_t)t->data + t->byte_offset;
    if (e.bytes > 0 && first < t->byte_offset) return "byte_offset is too large";
    return operand_place(&o->array, &e, (void *)first);
}

/* Reads a tensor. If no stream was asked for, the tensor may be used on the legacy default
 * stream. */
static int read_tensor(operand *o, const dl_tensor *t, uintptr_t stream) {
    gorsqrt_array *const a = &o->array;
    a->device = where(t->device.type);
    if (a->device == ELSEWHERE) return 0;
    if (a->device == CUDA) {
        a->index = t->device.id;
        a->stream = stream ? stream : LEGACY_STREAM;
        a->is_open = 1;
    }
    if (t->ndim < 0) {
        PyErr_SetString(PyExc_BufferError, "__dlpack__: ndim is negative");
        return -1;
    }
    a->ndim = t->ndim;
    a->dtype = tensor_dtype(t);
    if (a->dtype == GORSQRT_DTYPES) return name_type(o, t);
    if (t->ndim > GORSQRT_MAX_NDIM) return 0; /* refused later, and never read */
    const char *const flaw = read_layout(o, t);
    if (flaw) {
        PyErr_Format(PyExc_BufferError, "__dlpack__: %s", flaw);
        return -1;
    }
    return 0;
}

/* Whether the tensor may be written to, and if not, why. */
static void read_flags(operand *o) {
    gorsqrt_array *const a = &o->array;
    if (!o->versioned) {
        a->read_only = 1;
        a->because = "DLPack before version 1.0 does not say that it is writable";
        return;
    }
    uint64_t const flags = ((const dl_versioned *)o->managed)->flags;
    a->read_only = (flags & (DL_READ_ONLY | DL_COPIED)) != 0;
    if (!(flags & DL_READ_ONLY) && flags & DL_COPIED) a->because = "its __dlpack__ gives a copy";
}

int dlpack_take(operand *o, bool written) {
    if (ask_device(o) < 0) return -1;
    return o->array.device == CPU ? dlpack_open(o, written, 0) : 0;
}

bool dlpack_is_closed(const operand *o) {
    return (o->container == DLPACK || o->container == ARRAY_API) && o->array.device == CUDA && !o->array.is_open;
}

int dlpack_open(operand *o, bool written, uintptr_t stream) {
    PyObject *capsule = ask_capsule(o->object, written, stream);
    if (capsule == NULL) return -1;
    int const failed = open_capsule(o, capsule);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* the end of a capsule may run Python code, which must not see our exception */
    Py_DECREF(capsule);
    PyErr_Restore(type, value, traceback);
    if (failed) return -1;
    if (!o->versioned) {
        read_flags(o);
        return read_tensor(o, &((const dl_unversioned *)o->managed)->tensor, stream);
    }
    const dl_versioned *v = o->managed;
    if (v->version.major != DL_MAJOR) {
        PyErr_Format(PyExc_BufferError, "__dlpack__: version %u.%u is not supported; 1.x is", v->version.major,
                     v->version.minor);
        return -1;
    }
    read_flags(o);
    return read_tensor(o, &v->tensor, stream);
}

/* Tensors that the device may still be using. A producer keeps the memory until the deleter is
 * called, but DLPack ties that to no stream: after the call the memory may be used for anything, on
 * any stream. So the deleter is called only after an event behind the work has passed. No call
 * waits for an event. Each call that adds an entry looks at two, so about as many entries remain as
 * the device has calls still to finish. The GIL protects the queue. */
typedef struct held {
    struct held *next;
    gorsqrt_mark mark;
    void *managed[2];
    bool versioned[2];
} held;

static held *first_held, **last_held = &first_held;

static void enqueue(held *h) {
    h->next = NULL;
    *last_held = h;
    last_held = &h->next;
}

/* Removes the first entry if its work is done; otherwise moves it to the end. */
static void look_at_first(void) {
    held *const h = first_held;
    const gorsqrt_go *const go = h ? go_ask() : NULL;
    if (go == NULL) return;
    first_held = h->next;
    if (first_held == NULL) last_held = &first_held;
    if (!go->has_passed(h->mark)) {
        enqueue(h);
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (h->managed[i]) delete(h->managed[i], h->versioned[i]);
    }
    free(h);
}

void dlpack_hold(operand *y, operand *x, gorsqrt_mark mark) {
    look_at_first();
    look_at_first();
    if (mark.event == 0) return;
    held *const h = malloc(sizeof *h);
    operand *const operands[] = {y, x};
    for (int i = 0; i < 2; i++) {
        if (h) {
            h->managed[i] = operands[i]->managed;
            h->versioned[i] = operands[i]->versioned;
        }
        operands[i]->managed =
            NULL; /* without memory for an entry the tensors are kept until the process ends, which is safe */
        operands[i]->give_back = NULL;
    }
    if (h == NULL) return;
    h->mark = mark;
    enqueue(h);
}

/* In a forked child: the parent process gives the tensors back. */
static void forget(void) {
    first_held = NULL;
    last_held = &first_held;
}

/* Registered when the library is loaded: another thread may fork before the import ends. */
__attribute__((constructor(102))) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget);
}

/* Fresh results. */

fresh dlpack_fresh(const operand *like, int32_t dtype, const int64_t *strides) {
    return like->array.device == CPU ? buffer_fresh(like, dtype, strides) : memory_fresh_on_device(like, dtype, strides);
}

fresh dlpack_fresh_in_namespace(const operand *like, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *const a = &like->array;
    return a->device == CPU ? memory_fresh(dtype, a->ndim, a->shape, strides) : memory_fresh_on_device(like, dtype, strides);
}

PyObject *dlpack_to_namespace(const operand *input, PyObject *result) {
    PyObject *adapter = PyImport_ImportModule("gorsqrt.array_api");
    PyObject *array = adapter ? PyObject_CallMethod(adapter, "like", "OO", input->object, result) : NULL;
    Py_XDECREF(adapter);
    Py_DECREF(result);
    return array;
}
