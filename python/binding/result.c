/* Fresh containers for results. */
#include "binding.h"

#include <string.h>

enum { ALIGNMENT = 64 }; /* bytes: a cache line, and the widest vector */

/* The buffers' formats of the dtypes; NULL for bfloat16, which has none. */
static const char *const format[GORSQRT_COMPUTED] = {
    [GORSQRT_F16] = "e", [GORSQRT_F32] = "f", [GORSQRT_F64] = "d", [GORSQRT_C64] = "Zf", [GORSQRT_C128] = "Zd"};

/* How many bytes so many items take; negative where they are more than there can be, and `extra` ones beside. */
static int64_t bytes_of(int32_t dtype, int ndim, const int64_t *shape, int64_t extra) {
    int64_t bytes = gorsqrt_item_size[dtype];
    bool fits = true, none = false;
    for (int d = 0; d < ndim; d++) none |= shape[d] == 0;
    for (int d = ndim - 1; d >= 0; d--) fits &= !__builtin_mul_overflow(bytes, shape[d], &bytes);
    if (none) return 0;
    return fits && bytes <= INT64_MAX - extra ? bytes : -1;
}

/* A header's, its shape and its strides. */
static int64_t header_bytes(int ndim) {
    return (int64_t)sizeof(block) + 2 * ndim * (int64_t)sizeof(int64_t);
}

static block *fill(block *b, int64_t bytes, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
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

block *block_new(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
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
    return fill(b, bytes, dtype, ndim, shape, strides);
}

block *block_new_on_device(int32_t device, void *other, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    int64_t const bytes = bytes_of(dtype, ndim, shape, 0);
    block *b = bytes < 0 ? NULL : malloc((size_t)header_bytes(ndim));
    if (b == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    fill(b, bytes, dtype, ndim, shape, strides);
    const gorsqrt_go *const go = go_ask();
    gorsqrt_refusal refusal;
    uintptr_t memory = 0;
    if (go == NULL || (bytes > 0 && go->allocate(&device, other, (size_t)bytes, &memory, &refusal))) {
        if (go) refusal_raise("rsqrt", false, &refusal);
        free(b);
        return NULL;
    }
    b->data = (char *)memory; /* the driver's, until block_drop gives it back */
    b->device = device < 0 ? 0 : device;
    b->go = go;
    return b;
}

void block_drop(block *b) {
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

/* What others look into: a resulting memoryview, and the arrays that a namespace makes by its __dlpack__. */
typedef struct {
    PyObject_HEAD block *block;
    bool c_contiguous, f_contiguous;
} memory;

static PyTypeObject *memory_type;

/* A memoryview asks for everything and answers whoever asks it, but its .obj hands this object to anybody. */
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
    if (flags & PyBUF_FORMAT && format[b->dtype] == NULL) {
        PyErr_SetString(PyExc_BufferError, "buffers have no format for bfloat16");
        return -1;
    }
    view->obj = Py_NewRef(self);
    view->buf = b->data;
    view->len = b->bytes;
    view->itemsize = gorsqrt_item_size[b->dtype];
    view->readonly = 0;
    view->ndim = b->ndim;
    view->format = flags & PyBUF_FORMAT ? (char *)format[b->dtype] : NULL;
    view->shape = flags & PyBUF_ND ? b->shape : NULL;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? b->strides : NULL;
    view->suboffsets = NULL;
    view->internal = NULL;
    return 0;
}

static PyObject *memory_dlpack(PyObject *self, PyObject *args, PyObject *kwargs) {
    return dlpack_export(((memory *)self)->block, args, kwargs);
}

static PyObject *memory_dlpack_device(PyObject *self, PyObject *none) {
    (void)none;
    return dlpack_device(((memory *)self)->block);
}

static void memory_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    block_drop(((memory *)self)->block);
    freefunc const release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static fresh memory_new(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    block *b = block_new(dtype, ndim, shape, strides);
    allocfunc const allocate = (allocfunc)PyType_GetSlot(memory_type, Py_tp_alloc);
    memory *m = b ? (memory *)allocate(memory_type, 0) : NULL;
    if (m == NULL) {
        if (b) block_drop(b);
        return fresh_of(NULL, NULL);
    }
    m->block = b;
    m->c_contiguous = m->f_contiguous = true;
    int64_t step = gorsqrt_item_size[dtype];
    for (int d = 0; d < ndim; d++) {
        m->f_contiguous &= shape[d] == 1 || strides[d] == step;
        step = (int64_t)((uint64_t)step * (uint64_t)shape[d]); /* means nothing where the block is empty */
    }
    step = gorsqrt_item_size[dtype];
    for (int d = ndim - 1; d >= 0; d--) {
        m->c_contiguous &= shape[d] == 1 || strides[d] == step;
        step = (int64_t)((uint64_t)step * (uint64_t)shape[d]); /* means nothing where the block is empty */
    }
    if (b->bytes == 0) m->c_contiguous = m->f_contiguous = true;
    return fresh_of((PyObject *)m, b->data);
}

fresh result_memoryview(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    if (format[dtype] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "rsqrt(): a memoryview can't have dtype bfloat16; give an out, or choose another default");
        return fresh_of(NULL, NULL);
    }
    fresh const m = memory_new(dtype, ndim, shape, strides);
    PyObject *view = m.object ? PyMemoryView_FromObject(m.object) : NULL;
    Py_XDECREF(m.object);
    return fresh_of(view, m.data); /* which the view keeps */
}

/* array.array(code, [0]) per dtype, of the type that it was made by: repeating it is the way to an array of n elements without
 * a list of them. */
static struct {
    PyTypeObject *type;
    PyObject *array;
} one_element[GORSQRT_COMPUTED];

WITHOUT_CANARY fresh result_array_array(int32_t dtype, int64_t n) {
    if (one_element[dtype].type != array_array_type) {
        PyObject *one = PyObject_CallFunction((PyObject *)array_array_type, "s[d]", format[dtype], 0.0);
        if (one == NULL) return fresh_of(NULL, NULL);
        Py_XDECREF(one_element[dtype].array);
        one_element[dtype].array = one;
        one_element[dtype].type = array_array_type;
    }
    PyObject *array = PySequence_Repeat(one_element[dtype].array, n);
    Py_buffer view;
    if (array == NULL || PyObject_GetBuffer(array, &view, PyBUF_CONTIG | PyBUF_FORMAT) < 0) {
        Py_XDECREF(array);
        return fresh_of(NULL, NULL);
    }
    /* The class may be anybody's who calls a module `array`. */
    bool const fits = Py_IS_TYPE(array, array_array_type) && view.ndim == 1 && view.len == n * gorsqrt_item_size[dtype] &&
                      view.itemsize == gorsqrt_item_size[dtype] && format_dtype(view.format, view.itemsize) == dtype;
    void *const data = view.buf;
    PyBuffer_Release(&view);
    if (!fits) {
        PyErr_Format(PyExc_TypeError, "rsqrt(): %R times %zd is not an array of so many items; give an out",
                     one_element[dtype].array, (Py_ssize_t)n);
        Py_CLEAR(array);
    }
    /* Nobody else has seen the array, so nobody can resize it before the call returns. */
    return fresh_of(array, data);
}

/* Whether an array of a subclass is still what it was made as: its __array_finalize__ may have changed it. If not, an exception is
 * set. */
static bool is_as_made(PyObject *object, PyObject *descr, int ndim, const int64_t *shape, const int64_t *strides) {
    const numpy_array *const a = (const numpy_array *)object;
    bool same = a->nd == ndim && a->descr == descr;
    for (int d = 0; same && d < ndim; d++) {
        same = a->dimensions[d] == shape[d] && (strides == NULL || a->strides[d] == strides[d]);
    }
    if (!same) {
        PyErr_Format(PyExc_TypeError,
                     "rsqrt(): __array_finalize__ of %R changes a result's shape, strides or dtype; give an out",
                     (PyObject *)Py_TYPE(object));
    }
    return same;
}

/* Gives numpy its handler of memory back, in exchange for ours. An exception that is set stays. */
static int restore_handler(PyObject *theirs) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *const ours = numpy.set_handler(theirs);
    int const failed = ours == NULL ? -1 : 0;
    Py_XDECREF(ours);
    if (type) PyErr_Restore(type, value, traceback); /* in place of a new one */
    return failed;
}

fresh result_numpy(PyTypeObject *type, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides, PyObject *like) {
    PyObject *descr = numpy_descr_for(dtype);
    if (descr == NULL) return fresh_of(NULL, NULL);
    int64_t bytes = gorsqrt_item_size[dtype];
    for (int d = 0; d < ndim; d++) {
        if (__builtin_mul_overflow(bytes, shape[d], &bytes)) bytes = 0; /* too large: numpy says so */
    }
    PyObject *others = NULL;
    if (bytes >= POOLED && numpy.set_handler && (others = numpy.set_handler(numpy.pooled)) == NULL) return fresh_of(NULL, NULL);
    PyObject *array = numpy.new_from_descr(type, Py_NewRef(descr), ndim, shape, strides, NULL, 0, like);
    if (others) {
        if (restore_handler(others) < 0) {
            Py_CLEAR(array);               /* for want of memory, some of which this gives back */
            (void)restore_handler(others); /* or all later arrays would have ours */
        }
        Py_DECREF(others);
    }
    if (array && type != numpy.array_type && !is_as_made(array, descr, ndim, shape, strides)) Py_CLEAR(array);
    return fresh_of(array, array ? ((const numpy_array *)array)->data : NULL);
}

fresh result_new(const operand *input, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *a = &input->array;
    switch (input->container) {
        case NUMPY_ARRAY: {
            PyTypeObject *type = Py_TYPE(input->object);
            return result_numpy(type, dtype, a->ndim, a->shape, strides, type == numpy.array_type ? NULL : input->object);
        }
        case TORCH_TENSOR:
        case TORCH_KERNEL: {
            int64_t steps[GORSQRT_MAX_NDIM];
            for (int d = 0; d < a->ndim; d++) steps[d] = strides[d] / gorsqrt_item_size[dtype];
            return torch_result(-1, dtype, a->ndim, a->shape, steps);
        }
        case NUMPY_SCALAR: return result_numpy(numpy.array_type, dtype, 0, NULL, NULL, NULL);
        case ARRAY_ARRAY:
            if ((dtype == GORSQRT_F32 || dtype == GORSQRT_F64) && a->ndim == 1) return result_array_array(dtype, a->shape[0]);
            return result_memoryview(dtype, a->ndim, a->shape, strides); /* no type code for the others */
        case ARRAY_API: return memory_new(dtype, a->ndim, a->shape, strides);
        default: return result_memoryview(dtype, a->ndim, a->shape, strides);
    }
}

PyObject *result_finish(const operand *input, PyObject *result) {
    /* Of a library that is nobody's else here on a CUDA device too. */
    bool const ours = Py_IS_TYPE(result, cuda_memory) && input->container != DEVICE_MEMORY;
    int const lent = ours ? has_attribute((PyObject *)Py_TYPE(input->object), "__array_namespace__") : 0;
    if (lent < 0) Py_CLEAR(result);
    if (result == NULL) return NULL;
    if (lent || (input->container == ARRAY_API && input->array.device == CPU)) {
        PyObject *adapter = PyImport_ImportModule("gorsqrt.array_api");
        PyObject *array = adapter ? PyObject_CallMethod(adapter, "like", "OO", input->object, result) : NULL;
        Py_XDECREF(adapter);
        Py_DECREF(result);
        return array;
    }
    if (input->container != NUMPY_SCALAR) return result;
    const numpy_array *array = (const numpy_array *)result;
    PyObject *scalar = numpy.scalar(array->data, array->descr, NULL);
    Py_DECREF(result);
    return scalar;
}

int result_install(void) {
    /* Static: the type refers to them for as long as the process lives. */
    static PyMethodDef methods[] = {
        {"__dlpack__", (PyCFunction)(void (*)(void))memory_dlpack, METH_VARARGS | METH_KEYWORDS, NULL},
        {"__dlpack_device__", memory_dlpack_device, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)memory_dealloc},
        {Py_bf_getbuffer, (void *)memory_getbuffer},
        {Py_tp_methods, methods},
        {Py_tp_doc, "The memory of one result; memoryviews and arrays look into it."},
        {0, NULL},
    };
    PyType_Spec spec = {"gorsqrt._gorsqrt.Memory", sizeof(memory), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
    memory_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return memory_type ? 0 : -1;
}
