/* Arrays of the DLPack protocol, as a consumer and as a producer.
 *
 * A producer's __dlpack__ answers with a capsule of a tensor. Whoever takes the tensor out renames the capsule, and owes the
 * tensor's deleter one call, whatever happens next: dlpack_take owes it to operand_release from the renaming on. */
#include "binding.h"

#include <string.h>

/* The protocol's structs, versions 0.x and 1.x; from its public specification, dlpack.h 1.3. */

enum { DL_CPU = 1, DL_CUDA = 2, DL_CUDA_HOST = 3, DL_ROCM_HOST = 11, DL_CUDA_MANAGED = 13 };
enum { DL_MAJOR = 1, DL_MINOR = 3 };
enum { DL_READ_ONLY = 1, DL_COPIED = 2 };

typedef struct {
    void *data;
    struct {
        int32_t type, id;
    } device;
    int32_t ndim;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape, *strides; /* in elements; strides may be NULL for C order */
    uint64_t byte_offset;
} dl_tensor;

typedef struct dl_unversioned {
    dl_tensor tensor;
    void *context;
    void (*deleter)(struct dl_unversioned *); /* may be NULL */
} dl_unversioned;

typedef struct dl_versioned {
    struct {
        uint32_t major, minor;
    } version;
    void *context;
    void (*deleter)(struct dl_versioned *); /* may be NULL */
    uint64_t flags;
    dl_tensor tensor; /* of another major version the fields from here on mean something else */
} dl_versioned;

static const char unversioned_name[] = "dltensor", versioned_name[] = "dltensor_versioned";
static const char used_unversioned_name[] = "used_dltensor", used_versioned_name[] = "used_dltensor_versioned";

/* DLPack's type codes: numpy's kind where it has one, and the name, which the bits follow where it ends in no digits. */
static const struct {
    char kind;
    const char *name;
} code[] = {
    {'i', "int"},         {'u', "uint"},          {'f', "float"},       {0, "opaque"},          {0, "bfloat"},
    {'c', "complex"},     {'b', "bool"},          {0, "float8_e3m4"},   {0, "float8_e4m3"},     {0, "float8_e4m3b11fnuz"},
    {0, "float8_e4m3fn"}, {0, "float8_e4m3fnuz"}, {0, "float8_e5m2"},   {0, "float8_e5m2fnuz"}, {0, "float8_e8m0fnu"},
    {0, "float6_e2m3fn"}, {0, "float6_e3m2fn"},   {0, "float4_e2m1fn"},
};
enum { DL_FLOAT = 2, DL_BFLOAT = 4, DL_COMPLEX = 5, DL_FLOAT8 = 7, DL_CODES = sizeof code / sizeof *code };

/* Consumer. */

static int32_t where(int32_t device_type) {
    switch (device_type) {
        case DL_CPU:
        case DL_CUDA_HOST:
        case DL_ROCM_HOST: return CPU; /* the last two: the CPU's memory, pinned for a device's sake */
        case DL_CUDA:
        case DL_CUDA_MANAGED: return CUDA;
        default: return ELSEWHERE;
    }
}

/* Asks the object for its device, if it can be asked; the tensor will say it too. Nothing else is asked of what is refused for
 * where it is. */
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

/* The object's capsule, of no copy where it is to be written, for use on a stream unless that is 0. Producers older than version
 * 1.0 know no other argument than the stream. */
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

/* Takes the tensor out of its capsule. 0, or -1 with an exception set and the capsule as it was. */
static int open_capsule(operand *o, PyObject *capsule) {
    if (!PyCapsule_CheckExact(capsule)) {
        PyErr_Format(PyExc_BufferError, "__dlpack__ must return a capsule, not %R", (PyObject *)Py_TYPE(capsule));
        return -1;
    }
    o->versioned = PyCapsule_IsValid(capsule, versioned_name);
    if (!o->versioned && !PyCapsule_IsValid(capsule, unversioned_name)) {
        const char *name = PyCapsule_GetName(capsule);
        PyErr_Format(PyExc_BufferError, "__dlpack__ must return a capsule named '%s' or '%s', not '%s'", versioned_name,
                     unversioned_name, name ? name : "");
        return -1;
    }
    void *const managed = PyCapsule_GetPointer(capsule, o->versioned ? versioned_name : unversioned_name);
    if (PyCapsule_SetName(capsule, o->versioned ? used_versioned_name : used_unversioned_name) < 0) return -1;
    o->managed = managed;
    return 0;
}

static int32_t tensor_dtype(const dl_tensor *t) {
    if (t->dtype.lanes != 1 || t->dtype.code >= DL_CODES || t->dtype.bits % 8 != 0) return GORSQRT_DTYPES;
    if (t->dtype.code == DL_BFLOAT) return t->dtype.bits == 16 ? GORSQRT_BF16 : GORSQRT_DTYPES;
    return kind_dtype(code[t->dtype.code].kind, t->dtype.bits / 8);
}

/* Names an element type that has no kernel, as numpy would: "float128", and "float32x4" for vectors. */
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

/* Reads shape, strides and address, of an element type that has a kernel. What is wrong with them, or NULL. */
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

/* Asked for no stream, a producer lets the tensor be used on the legacy default one. */
static int read_tensor(operand *o, const dl_tensor *t, uintptr_t stream) {
    gorsqrt_array *const a = &o->array;
    a->device = where(t->device.type);
    if (a->device == ELSEWHERE) return 0;
    if (a->device == CUDA) {
        a->index = t->device.id;
        a->stream = stream ? stream : LEGACY_STREAM;
        a->launches = 1;
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
    return (o->container == DLPACK || o->container == ARRAY_API) && o->array.device == CUDA && !o->array.launches;
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

static void delete(void *managed, bool versioned) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* and so may a deleter */
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

void dlpack_release(operand *o) {
    if (o->managed) delete(o->managed, o->versioned);
    o->managed = NULL;
}

/* What the device may still be at work on. The protocol has a producer keep the memory until the deleter is called, and says
 * nothing of a stream in that: once it is called, the memory may be anybody's on any stream. So it is called when an event after
 * the work has come to pass. Nobody waits for that: each call that adds a tensor looks at two, so that there are at any time
 * about as many as the device has yet to do. Whoever holds the GIL may change the queue. */
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

/* Takes the first one out and, where its work is not done, puts it at the end. */
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
        operands[i]->managed = NULL; /* without memory for a note they stay for ever: that at least is safe */
    }
    if (h == NULL) return;
    h->mark = mark;
    enqueue(h);
}

void dlpack_forget(void) {
    first_held = NULL; /* the parent's to give back */
    last_held = &first_held;
}

/* Producer: of a result's block. */

/* One of the two tensors, and the strides in elements that it points to; its context is the block, to which it has a reference.
 * The deleters run in any thread, without the GIL and after the interpreter's end. */
typedef struct {
    union {
        dl_versioned versioned;
        dl_unversioned unversioned;
    } managed; /* first: its address is this one's */
    int64_t strides[];
} lent;

static void delete_versioned(dl_versioned *v) {
    block_drop(v->context);
    free(v);
}

static void delete_unversioned(dl_unversioned *u) {
    block_drop(u->context);
    free(u);
}

/* A capsule that dies unopened has its tensor still. */
static void end_versioned(PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, versioned_name)) delete_versioned(PyCapsule_GetPointer(capsule, versioned_name));
}

static void end_unversioned(PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, unversioned_name)) delete_unversioned(PyCapsule_GetPointer(capsule, unversioned_name));
}

PyObject *dlpack_device(const block *b) {
    return b->go ? Py_BuildValue("ii", DL_CUDA, (int)b->device) : Py_BuildValue("ii", DL_CPU, 0);
}

static void fill_tensor(dl_tensor *t, const block *b, int64_t *strides) {
    static const uint8_t type[GORSQRT_COMPUTED] = {
        [GORSQRT_F16] = DL_FLOAT, [GORSQRT_BF16] = DL_BFLOAT, [GORSQRT_F32] = DL_FLOAT,
        [GORSQRT_F64] = DL_FLOAT, [GORSQRT_C64] = DL_COMPLEX, [GORSQRT_C128] = DL_COMPLEX,
    };
    int64_t const size = gorsqrt_item_size[b->dtype];
    t->data = b->bytes > 0 ? b->data : NULL;
    t->device.type = b->go ? DL_CUDA : DL_CPU;
    t->device.id = b->go ? b->device : 0;
    t->ndim = b->ndim;
    t->dtype.code = type[b->dtype];
    t->dtype.bits = (uint8_t)(8 * size);
    t->dtype.lanes = 1;
    t->shape = b->shape;
    t->strides = strides;
    t->byte_offset = 0;
    for (int d = 0; d < b->ndim; d++) strides[d] = b->strides[d] / size;
}

/* A copy of a block; NULL with an exception set. */
static block *copied(const block *b) {
    block *copy = block_new(b->dtype, b->ndim, b->shape, b->strides);
    if (copy && b->bytes > 0) memcpy(copy->data, b->data, (size_t)b->bytes);
    return copy;
}

/* Reads a pair of integers unless it is None. False with an exception set. */
static bool read_pair(PyObject *pair, const char *name, int *first, int *second) {
    if (pair == Py_None) return true;
    if (PyTuple_Check(pair)) {
        if (PyArg_ParseTuple(pair, "ii", first, second)) return true;
        if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_OverflowError)) return false;
    }
    PyErr_Format(PyExc_TypeError, "__dlpack__: %s must be a pair of integers", name);
    return false;
}

/* Lets the consumer's stream, as the protocol numbers it, wait for a block's. False with an exception set. */
static bool ready_on(const block *b, PyObject *stream) {
    if (b->go == NULL) {
        if (stream != Py_None) PyErr_SetString(PyExc_BufferError, "__dlpack__: the CPU has no streams; stream must be None");
        return stream == Py_None;
    }
    long long const number = stream == Py_None ? LEGACY_STREAM : PyLong_AsLongLong(stream);
    if (PyErr_Occurred()) return false;
    if (number == -1 || number == LEGACY_STREAM || b->bytes == 0) return true; /* no wish to wait; the block's own */
    if (number < 0 || number == 0) {
        PyErr_SetString(PyExc_ValueError, "__dlpack__: stream must be None, -1, 1, 2 or a stream's handle");
        return false;
    }
    const gorsqrt_go *const go = go_ask();
    gorsqrt_refusal refusal;
    if (go == NULL || !go->order(b->device, (uintptr_t)number, &refusal)) return go != NULL;
    refusal_raise("__dlpack__", false, &refusal);
    return false;
}

PyObject *dlpack_export(block *b, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO:__dlpack__", names, &stream, &version, &device, &copy)) return NULL;
    int const here = b->go ? DL_CUDA : DL_CPU, number = b->go ? (int)b->device : 0;
    int major = 0, minor = 0, device_type = here, device_id = number;
    if (!read_pair(version, "max_version", &major, &minor) || !read_pair(device, "dl_device", &device_type, &device_id))
        return NULL;
    if (device_type != here || (b->go && device_id != number)) {
        PyErr_Format(PyExc_BufferError, "__dlpack__: the memory is %s; dl_device must be (%d, %d)",
                     b->go ? "a CUDA device's" : "the CPU's", here, number);
        return NULL;
    }
    int const copies = copy == Py_None ? 0 : PyObject_IsTrue(copy);
    if (copies > 0 && b->go) {
        PyErr_SetString(PyExc_BufferError, "__dlpack__: memory on a CUDA device is not copied; copy must be None or False");
        return NULL;
    }
    if (copies < 0 || !ready_on(b, stream)) return NULL;
    lent *l = malloc(sizeof *l + (size_t)b->ndim * sizeof(int64_t));
    if (l == NULL) return PyErr_NoMemory();
    if (copies) {
        b = copied(b);
        if (b == NULL) {
            free(l);
            return NULL;
        }
    } else {
        atomic_fetch_add(&b->references, 1);
    }
    PyObject *capsule;
    if (major >= DL_MAJOR) {
        dl_versioned *v = &l->managed.versioned;
        v->version.major = DL_MAJOR;
        v->version.minor = 0; /* nothing that is newer is used */
        v->context = b;
        v->deleter = delete_versioned;
        v->flags = copies ? DL_COPIED : 0;
        fill_tensor(&v->tensor, b, l->strides);
        capsule = PyCapsule_New(v, versioned_name, end_versioned);
        if (capsule == NULL) delete_versioned(v);
    } else {
        dl_unversioned *u = &l->managed.unversioned;
        u->context = b;
        u->deleter = delete_unversioned;
        fill_tensor(&u->tensor, b, l->strides);
        capsule = PyCapsule_New(u, unversioned_name, end_unversioned);
        if (capsule == NULL) delete_unversioned(u);
    }
    return capsule;
}
