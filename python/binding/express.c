/* The express lane: calls that need no decision by Go. C answers them with the kernels that Go has
 * published in go_now. It works in a forked child without loading anything. Needs run.c to compute.
 * Any other call is left untouched: NULL, without an exception. */
#include "express.h"
#include "buffer.h"
#include "layout.h"
#include "numpy.h"
#include "run.h"
#include "torch_door.h"

/* An array that needs no decision: contiguous in C order, of a dtype that is computed without a
 * cast. */
typedef struct {
    void *data;
    const int64_t *shape;
    int64_t n;
    int32_t dtype, ndim;
    bool read_only;
    container container;
    Py_buffer view; /* held until plain_release if view.obj is set */
} plain;

/* Counts the items and their bytes. False if the count overflows or a length is negative: such an
 * array needs a decision. */
static inline bool count(plain *p, int64_t *bytes) {
    p->n = 1;
    for (int d = 0; d < p->ndim; d++) {
        if (p->shape[d] < 0 || __builtin_mul_overflow(p->n, p->shape[d], &p->n)) return false;
    }
    return !__builtin_mul_overflow(p->n, (int64_t)gorsqrt_item_size[p->dtype], bytes);
}

/* Whether the object is plain and in a container that this lane handles; if so, the caller must
 * call plain_release. Only torch_door.c may set an exception. */
WITHOUT_CANARY static bool plain_take(plain *p, PyObject *object, bool written) {
    PyTypeObject *type = Py_TYPE(object);
    p->view.obj = NULL;
    if (type == numpy.array_type) {
        const numpy_array *a = (const numpy_array *)object;
        p->dtype = numpy_dtype(a->descr);
        if (p->dtype >= GORSQRT_COMPUTED || !(a->flags & NUMPY_C_CONTIGUOUS)) return false;
        p->data = a->data;
        p->ndim = a->nd;
        p->shape = a->dimensions;
        p->read_only = !(a->flags & NUMPY_WRITEABLE);
        p->container = NUMPY_ARRAY;
        int64_t bytes;
        return count(p, &bytes);
    }
    if (type == torch_tensor || type == torch_parameter) {
        torch_look t;
        if (!torch_is_ordinary(object, written, &t) || t.on_cuda || t.dtype >= GORSQRT_COMPUTED || t.ndim > GORSQRT_MAX_NDIM ||
            !torch_is_contiguous(&t))
            return false;
        p->data = t.data;
        p->shape = t.shape;
        p->n = t.n;
        p->dtype = t.dtype;
        p->ndim = (int32_t)t.ndim;
        p->read_only = false;
        p->container = TORCH_TENSOR;
        return true;
    }
    if (type == array_array_type || type == &PyMemoryView_Type) {
        if (PyObject_GetBuffer(object, &p->view, PyBUF_RECORDS_RO) < 0) {
            PyErr_Clear();
            return false;
        }
        p->dtype = format_dtype(p->view.format, p->view.itemsize);
        p->ndim = p->view.ndim;
        p->shape = p->view.shape;
        int64_t bytes;
        /* A memoryview only repeats its exporter's claims. */
        if (p->dtype >= GORSQRT_COMPUTED || p->ndim > GORSQRT_MAX_NDIM || !PyBuffer_IsContiguous(&p->view, 'C') ||
            !count(p, &bytes) || p->view.len != bytes || (p->view.buf == NULL && bytes > 0)) {
            PyBuffer_Release(&p->view);
            return false;
        }
        p->data = p->view.buf;
        p->read_only = p->view.readonly;
        p->container = type == array_array_type ? ARRAY_ARRAY : BUFFER;
        return true;
    }
    return false;
}

/* After a failure an exception may be set. */
static void plain_release(plain *p, bool failed) {
    if (p->view.obj == NULL) return;
    if (failed) {
        release_buffer(&p->view);
    } else {
        PyBuffer_Release(&p->view);
    }
}

static fresh like_plain(const plain *p) {
    if (p->container == NUMPY_ARRAY) return numpy_fresh(numpy.array_type, p->dtype, p->ndim, p->shape, NULL, NULL);
    if (p->container == ARRAY_ARRAY) return buffer_array(p->dtype, p->n);
    int64_t strides[GORSQRT_MAX_NDIM];
    layout_c_order(p->ndim, p->shape, gorsqrt_item_size[p->dtype], strides);
    return buffer_memoryview(p->dtype, p->ndim, p->shape, strides);
}

bool express_knows(PyTypeObject *type) {
    return type == numpy.array_type || type == array_array_type || type == &PyMemoryView_Type;
}

WITHOUT_CANARY PyObject *express_fresh(PyObject *input) {
    plain x;
    if (!plain_take(&x, input, false)) return NULL;
    if (x.container == TORCH_TENSOR) return NULL; /* torch_calls.c answers */
    fresh y = like_plain(&x);
    if (y.object && run_plain(x.dtype, x.n, y.data, x.data) < 0) Py_CLEAR(y.object);
    plain_release(&x, y.object == NULL);
    return y.object;
}

WITHOUT_CANARY PyObject *express_in_place(PyObject *input) {
    plain x;
    if (!plain_take(&x, input, true)) return NULL;
    PyObject *result = NULL;
    if (!x.read_only && run_plain(x.dtype, x.n, x.data, x.data) == 0) result = Py_NewRef(input);
    if (x.container == TORCH_TENSOR) torch_count_write(input);
    plain_release(&x, result == NULL);
    return result;
}

WITHOUT_CANARY PyObject *express_out(PyObject *input, PyObject *out) {
    plain x, y;
    if (!plain_take(&y, out, true)) return NULL;
    PyObject *result = NULL;
    if (plain_take(&x, input, false)) {
        bool same = y.dtype == x.dtype && y.ndim == x.ndim && !y.read_only;
        for (int d = 0; same && d < x.ndim; d++) same = y.shape[d] == x.shape[d];
        uintptr_t const from = (uintptr_t)x.data, to = (uintptr_t)y.data;
        uintptr_t const bytes = (uintptr_t)(x.n * gorsqrt_item_size[x.dtype]);
        if (same && (from == to || from + bytes <= to || to + bytes <= from)) {
            if (run_plain(x.dtype, x.n, y.data, x.data) == 0) result = Py_NewRef(out);
            if (y.container == TORCH_TENSOR) torch_count_write(out);
        }
        plain_release(&x, result == NULL);
    }
    plain_release(&y, result == NULL);
    return result;
}
