/* Results in memory that gorsqrt allocates, and the protocols by which other libraries read them.
 * Needs the pool and, on CUDA devices, Go. A block is freed with its last reference. References are
 * held by an object, by a buffer, or by a capsule that another library took. The library may call
 * the deleter in any thread, and after the interpreter's end. */
#include "memory.h"
#include "dlpack_structs.h"
#include "layout.h"
#include "pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Blocks. */

/* Memory of one result. Any thread may hold a reference, with the GIL or without. On the CPU it is
 * one allocation: the elements, then this header. It is freed with the last reference. */
typedef struct {
    char *data;                      /* the first element */
    int64_t *shape, *strides, bytes; /* ndim entries each; strides in bytes */
    int32_t dtype, ndim;
    const gorsqrt_go *go; /* on a CUDA device: the Go that allocated `data`; NULL: `data` is in this allocation, on the CPU */
    int32_t device;
    atomic_long references;
} block;

enum { ALIGNMENT = 64 }; /* bytes: a cache line, and the widest vector */

const char *const buffer_format[GORSQRT_COMPUTED] = {
    [GORSQRT_F16] = "e", [GORSQRT_F32] = "f", [GORSQRT_F64] = "d", [GORSQRT_C64] = "Zf", [GORSQRT_C128] = "Zd"};

/* The bytes that the items take; negative if these bytes and `extra` more exceed INT64_MAX. */
static int64_t bytes_of(int32_t dtype, int ndim, const int64_t *shape, int64_t extra) {
    int64_t bytes = gorsqrt_item_size[dtype];
    bool fits = true, none = false;
    for (int d = 0; d < ndim; d++) none |= shape[d] == 0;
    for (int d = ndim - 1; d >= 0; d--) fits &= !__builtin_mul_overflow(bytes, shape[d], &bytes);
    if (none) return 0;
    return fits && bytes <= INT64_MAX - extra ? bytes : -1;
}

/* The bytes of a header with its shape and strides. */
static int64_t header_bytes(int ndim) {
    return (int64_t)sizeof(block) + 2 * ndim * (int64_t)sizeof(int64_t);
}

static block *describe(block *b, int64_t bytes, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    b->bytes = bytes;
    b->dtype = dtype;
    b->ndim = ndim;
    b->shape = (int64_t *)(b + 1);
    b->strides = b->shape + ndim;
    b->go = NULL;
    atomic_init(&b->references, 1);
    if (ndim > 0) {
        memcpy(b->shape, shape, (size_t)ndim * sizeof *shape);
        memcpy(b->strides, strides, (size_t)ndim * sizeof *strides);
    }
    return b;
}

/* A fresh block with one reference, the caller's; NULL with an exception set. */
static block *block_new(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    int64_t const extra = header_bytes(ndim) + ALIGNMENT, bytes = bytes_of(dtype, ndim, shape, extra);
    int64_t const elements = bytes / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    void *data = NULL;
    if (bytes >= POOLED) {
        data = pool_take((size_t)(bytes + extra));
    } else if (bytes >= 0 && posix_memalign(&data, ALIGNMENT, (size_t)(bytes + extra)) != 0) {
        data = NULL;
    }
    if (data == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    block *b = (block *)((char *)data + elements);
    b->data = data;
    return describe(b, bytes, dtype, ndim, shape, strides);
}

/* The same on the CUDA device of this number. If the number is negative, on the device of the
 * memory `other`. */
static block *block_new_on_device(int32_t device, void *other, int32_t dtype, int ndim, const int64_t *shape,
                                  const int64_t *strides) {
    int64_t const bytes = bytes_of(dtype, ndim, shape, 0);
    block *b = bytes < 0 ? NULL : malloc((size_t)header_bytes(ndim));
    if (b == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    describe(b, bytes, dtype, ndim, shape, strides);
    const gorsqrt_go *const go = go_ask();
    gorsqrt_refusal refusal;
    uintptr_t memory = 0;
    if (go == NULL || (bytes > 0 && go->allocate(&device, other, (size_t)bytes, &memory, &refusal))) {
        if (go) refusal_raise("rsqrt", false, &refusal);
        free(b);
        return NULL;
    }
    b->data = (char *)memory; /* the driver's memory; block_drop gives it back */
    b->device = device < 0 ? 0 : device;
    b->go = go;
    return b;
}

static void block_drop(block *b) {
    if (atomic_fetch_sub(&b->references, 1) != 1) return;
    if (b->go) {
        if (b->data && go_is_in_use(b->go)) b->go->give_back(b->device, (uintptr_t)b->data);
        free(b);
    } else if (b->bytes >= POOLED) {
        pool_give(b->data);
    } else {
        free(b->data);
    }
}

/* Objects. */

/* The object of a result: a block, shown by the buffer protocol or by __cuda_array_interface__. The
 * two types differ only in the protocols that they offer. */
typedef struct {
    PyObject_HEAD block *block;
    bool c_contiguous, f_contiguous; /* on the CPU */
} memory;

static PyTypeObject *cpu_memory;
PyTypeObject *device_memory;

/* An object for a block, whose reference it takes over. NULL with an exception set, also if `b` is
 * NULL. */
static memory *object_of(PyTypeObject *type, block *b) {
    allocfunc const allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    memory *const m = b ? (memory *)allocate(type, 0) : NULL;
    if (m) m->block = b;
    if (b && m == NULL) block_drop(b);
    return m;
}

/* A memoryview requests all that there is and itself answers other requests. But its .obj is this
 * object, so any request can come here. */
static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    memory *m = (memory *)self;
    block *b = m->block;
    bool const wants_c = (flags & PyBUF_STRIDES) != PyBUF_STRIDES || (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS;
    bool const wants_f = (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS;
    bool const wants_any = (flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS;
    view->obj = NULL;
    if ((wants_c && !m->c_contiguous) || (wants_f && !m->f_contiguous) || (wants_any && !m->c_contiguous && !m->f_contiguous)) {
        PyErr_SetString(PyExc_BufferError,
                        wants_c ? "the memory is not contiguous in C order" : "the memory is not contiguous");
        return -1;
    }
    if (flags & PyBUF_FORMAT && buffer_format[b->dtype] == NULL) {
        PyErr_SetString(PyExc_BufferError, "buffers have no format for bfloat16");
        return -1;
    }
    view->obj = Py_NewRef(self);
    view->buf = b->data;
    view->len = b->bytes;
    view->itemsize = gorsqrt_item_size[b->dtype];
    view->readonly = 0;
    view->ndim = b->ndim;
    view->format = flags & PyBUF_FORMAT ? (char *)buffer_format[b->dtype] : NULL;
    view->shape = flags & PyBUF_ND ? b->shape : NULL;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? b->strides : NULL;
    view->suboffsets = NULL;
    view->internal = NULL;
    return 0;
}

static void memory_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    block_drop(((memory *)self)->block);
    freefunc const release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* DLPack, as a producer. */

/* One of the two tensor structs, and the strides in elements to which it points. Its context is the
 * block, of which it holds one reference. The deleters may run in any thread, without the GIL, and
 * after the interpreter's end. */
typedef struct {
    union {
        dl_versioned versioned;
        dl_unversioned unversioned;
    } managed; /* first, so that both have one address */
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

/* A capsule that ends unopened still has its tensor. */
static void end_versioned(PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, DL_VERSIONED)) delete_versioned(PyCapsule_GetPointer(capsule, DL_VERSIONED));
}

static void end_unversioned(PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, DL_UNVERSIONED)) delete_unversioned(PyCapsule_GetPointer(capsule, DL_UNVERSIONED));
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

/* Lets the consumer's stream (in the protocol's numbering) wait for the block's stream. False with
 * an exception set. */
static bool ready_on(const block *b, PyObject *stream) {
    if (b->go == NULL) {
        if (stream != Py_None) PyErr_SetString(PyExc_BufferError, "__dlpack__: the CPU has no streams; stream must be None");
        return stream == Py_None;
    }
    long long const number = stream == Py_None ? LEGACY_STREAM : PyLong_AsLongLong(stream);
    if (PyErr_Occurred()) return false;
    if (number == -1 || number == LEGACY_STREAM || b->bytes == 0)
        return true; /* -1: no wait is wanted; LEGACY_STREAM: the block's own */
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

static PyObject *memory_dlpack(PyObject *self, PyObject *args, PyObject *kwargs) {
    block *b = ((memory *)self)->block;
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
        v->version.minor = 0; /* nothing newer is used */
        v->context = b;
        v->deleter = delete_versioned;
        v->flags = copies ? DL_COPIED : 0;
        fill_tensor(&v->tensor, b, l->strides);
        capsule = PyCapsule_New(v, DL_VERSIONED, end_versioned);
        if (capsule == NULL) delete_versioned(v);
    } else {
        dl_unversioned *u = &l->managed.unversioned;
        u->context = b;
        u->deleter = delete_unversioned;
        fill_tensor(&u->tensor, b, l->strides);
        capsule = PyCapsule_New(u, DL_UNVERSIONED, end_unversioned);
        if (capsule == NULL) delete_unversioned(u);
    }
    return capsule;
}

static PyObject *memory_dlpack_device(PyObject *self, PyObject *none) {
    (void)none;
    const block *const b = ((memory *)self)->block;
    return b->go ? Py_BuildValue("ii", DL_CUDA, (int)b->device) : Py_BuildValue("ii", DL_CPU, 0);
}

/* The interface of CUDA arrays. */

static PyObject *memory_interface(PyObject *self, void *closure) {
    (void)closure;
    static const char *const typestr[GORSQRT_COMPUTED] = {
        [GORSQRT_F16] = "<f2", [GORSQRT_F32] = "<f4", [GORSQRT_F64] = "<f8", [GORSQRT_C64] = "<c8", [GORSQRT_C128] = "<c16"};
    const block *const b = ((const memory *)self)->block;
    if (typestr[b->dtype] == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__cuda_array_interface__ has no typestr for bfloat16; DLPack has");
        return NULL;
    }
    PyObject *shape = tuple_of(b->ndim, b->shape), *strides = shape ? tuple_of(b->ndim, b->strides) : NULL, *interface = NULL;
    if (strides) {
        interface = Py_BuildValue("{sOsOsss(KO)sisi}", "shape", shape, "strides", strides, "typestr", typestr[b->dtype], "data",
                                  (unsigned long long)(uintptr_t)b->data, Py_False, "stream", LEGACY_STREAM, "version", 3);
    }
    Py_XDECREF(shape);
    Py_XDECREF(strides);
    return interface;
}

/* Fresh objects. */

fresh memory_fresh(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    block *const b = block_new(dtype, ndim, shape, strides);
    memory *const m = object_of(cpu_memory, b);
    if (m == NULL) return fresh_of(NULL, NULL);
    int64_t shape_back[GORSQRT_MAX_NDIM], strides_back[GORSQRT_MAX_NDIM]; /* F order is C order of these */
    for (int d = 0; d < ndim; d++) {
        shape_back[d] = shape[ndim - 1 - d];
        strides_back[d] = strides[ndim - 1 - d];
    }
    m->c_contiguous = b->bytes == 0 || layout_is_c_order(ndim, shape, strides, gorsqrt_item_size[dtype]);
    m->f_contiguous = b->bytes == 0 || layout_is_c_order(ndim, shape_back, strides_back, gorsqrt_item_size[dtype]);
    return fresh_of((PyObject *)m, b->data);
}

fresh memory_fresh_on_device(const operand *like, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *const a = &like->array;
    block *const b = block_new_on_device(a->index, a->data, dtype, a->ndim, a->shape, strides);
    memory *const m = object_of(device_memory, b);
    return fresh_of((PyObject *)m, m ? b->data : NULL);
}

int memory_take_device(operand *o, bool written) {
    (void)written;
    const block *const b = ((const memory *)o->object)->block; /* the object keeps the block, and the caller keeps the object */
    o->array.data = b->data;
    o->array.shape = b->shape;
    o->array.strides = b->strides;
    o->array.dtype = b->dtype;
    o->array.ndim = b->ndim;
    o->array.read_only = 0;
    o->array.device = CUDA;
    o->array.is_open = 1;
    o->array.index = b->device;
    o->array.stream = LEGACY_STREAM;
    return 0;
}

static PyTypeObject *type_of(const char *name, PyType_Slot *slots) {
    PyType_Spec spec = {name, sizeof(memory), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
    return (PyTypeObject *)PyType_FromSpec(&spec);
}

int memory_install(void) {
    /* Static: the types refer to them until the process ends. */
    static PyMethodDef methods[] = {
        {"__dlpack__", (PyCFunction)(void (*)(void))memory_dlpack, METH_VARARGS | METH_KEYWORDS, NULL},
        {"__dlpack_device__", memory_dlpack_device, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef attributes[] = {{"__cuda_array_interface__", memory_interface, NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
    PyType_Slot on_cpu[] = {
        {Py_tp_dealloc, (void *)memory_dealloc},
        {Py_bf_getbuffer, (void *)memory_getbuffer},
        {Py_tp_methods, methods},
        {Py_tp_doc, "The memory of one result; memoryviews and arrays look into it."},
        {0, NULL},
    };
    PyType_Slot on_device[] = {
        {Py_tp_dealloc, (void *)memory_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {Py_tp_doc, "One result on a CUDA device, for libraries that look into it by DLPack or __cuda_array_interface__."},
        {0, NULL},
    };
    cpu_memory = type_of("gorsqrt._gorsqrt.Memory", on_cpu);
    device_memory = cpu_memory ? type_of("gorsqrt._gorsqrt.DeviceMemory", on_device) : NULL;
    return device_memory ? 0 : -1;
}
