/* torch's tensors as containers. Any strided tensor is read in place; fresh tensors are made by
 * torch. Needs torch_door.c, and the pool for large results. A tensor's memory is used only during
 * the call, while the caller keeps the tensor; on a CUDA device only in its stream's order. */
#include "torch.h"
#include "pool.h"
#include "torch_door.h"
#include "torch_storage.h"

#include <string.h>

/* torch's default dtype, in which its booleans and integers are computed; -1 with an exception
 * set. */
static int32_t torchs_default_dtype(void) {
    PyObject *now = PyObject_CallObject(torch.get_default_dtype, NULL);
    int32_t dtype = now ? 0 : -1;
    while (now && dtype < GORSQRT_COMPUTED && torch.dtype[dtype] != now) dtype++;
    Py_XDECREF(now);
    return dtype;
}

/* Reads the device of a tensor on a CUDA device, and the stream that this thread uses there now. 0
 * if both are known. */
static int take_place(operand *o, torch_handle tensor) {
    void *stream;
    if (torch.call.current_stream == NULL || torch.call.get_device_index(tensor, &o->array.index) ||
        torch.call.current_stream(o->array.index, &stream))
        return -1;
    o->array.device = CUDA;
    o->array.is_open = 1;
    o->array.stream = stream ? (uintptr_t)stream : LEGACY_STREAM;
    return 0;
}

int torch_take(operand *o, bool written) {
    if (!torch.known) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: can't read the tensors of this version of torch");
        return -1;
    }
    void *impl = torch_impl_of(o->object);
    if (impl == NULL) return -1;
    int32_t layout = torch.strided, device = torch.cpu;
    torch_look t;
    if ((torch.call.get_layout && torch.call.get_layout(&impl, &layout)) || torch.call.get_device_type(&impl, &device) ||
        layout != torch.strided || (device != torch.cpu && (device != torch.cuda || take_place(o, &impl))) ||
        !torch_look_at(&t, &impl, written)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "gorsqrt: a tensor's memory can't be read: it is not a strided tensor on the CPU or a CUDA device");
        return -1;
    }
    o->array.data = t.data;
    o->array.ndim = (int32_t)t.ndim;
    o->array.dtype = t.dtype;
    o->array.read_only = 0;
    if (t.n > 0 && t.data == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: a tensor has no memory");
        return -1;
    }
    if (t.dtype == GORSQRT_DTYPES) {
        PyObject *dtype = PyObject_GetAttrString(o->object, "dtype");
        int const failed = dtype ? operand_name_type(o, dtype) : -1;
        Py_XDECREF(dtype);
        return failed;
    }
    if (t.ndim <= GORSQRT_MAX_NDIM) {
        /* Copies: a launch is decided without the GIL, and taking the other operand may run any
         * Python code. */
        bool fits = true;
        for (int64_t d = 0; d < t.ndim; d++) {
            o->shape[d] = t.shape[d];
            /* a dimension of at most one item may have any stride */
            fits &= !__builtin_mul_overflow(t.strides[d], gorsqrt_item_size[t.dtype], &o->strides[d]) || t.shape[d] < 2;
        }
        extent e;
        if (!fits || operand_measure(&o->array, &e)) {
            PyErr_SetString(PyExc_RuntimeError, "gorsqrt: a tensor's shape and strides are too large");
            return -1;
        }
    }
    if (t.dtype >= GORSQRT_COMPUTED) o->array.default_dtype = torchs_default_dtype();
    return PyErr_Occurred() ? -1 : 0;
}

/* Calls torch.empty_strided through Python; strides in elements. */
static PyObject *empty_by_python(int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    PyObject *sizes = tuple_of(ndim, shape), *steps = sizes ? tuple_of(ndim, strides) : NULL;
    PyObject *device = index < 0 ? PyUnicode_FromString("cpu") : PyUnicode_FromFormat("cuda:%d", (int)index);
    PyObject *options = device ? Py_BuildValue("{sOsO}", "dtype", torch.dtype[dtype], "device", device) : NULL;
    PyObject *arguments = steps && options ? PyTuple_Pack(2, sizes, steps) : NULL;
    PyObject *result = arguments ? PyObject_Call(torch.empty_strided, arguments, options) : NULL;
    Py_XDECREF(arguments);
    Py_XDECREF(options);
    Py_XDECREF(device);
    Py_XDECREF(sizes);
    Py_XDECREF(steps);
    return result;
}

/* Checks a tensor from torch.empty_strided, which the user may have replaced by another function,
 * and reads its address. NULL with an exception set if the tensor is not the one that was asked
 * for. */
static fresh checked(PyObject *object, int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    if (PyType_IsSubtype(Py_TYPE(object), torch_tensor)) {
        operand o;
        operand_begin(&o, object, TORCH_TENSOR);
        const gorsqrt_array *const a = &o.array;
        bool fits = torch_take(&o, true) == 0 && a->dtype == dtype && a->ndim == ndim && a->device == (index < 0 ? CPU : CUDA);
        for (int d = 0; fits && d < ndim; d++) {
            fits = a->shape[d] == shape[d] && a->strides[d] == strides[d] * gorsqrt_item_size[dtype];
        }
        void *const data = fits ? a->data : NULL; /* the tensor's memory */
        operand_release(&o);
        if (fits) return fresh_of(object, data);
    }
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "rsqrt(): torch.empty_strided answers with another tensor");
    Py_DECREF(object);
    return fresh_of(NULL, NULL);
}

/* A fresh tensor on the CPU, or on the CUDA device of an index that is not negative; strides in
 * elements. It is an ordinary torch tensor, and the user may resize it. Its memory is aligned to 64
 * bytes, by torch's allocator or the pool. */
static fresh empty(int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    PyObject *result = NULL;
    void *data;
    torch_handle tensor;
    int32_t const device = index < 0 ? torch.cpu : torch.cuda;
    if (torch.call.to_pyobject &&
        torch.call.empty_strided(ndim, shape, strides, torch.number_of[dtype], device, index, &tensor) == 0) {
        bool const has = torch.call.get_data(tensor, &data) == 0;
        int const failed = has && device == torch.cpu ? torch_pool(*(void **)tensor, &data) : 0;
        if (!has || failed || torch.call.to_pyobject(tensor, NULL, &result)) result = NULL;
        torch.call.delete_tensor(tensor);
        if (result || failed) return fresh_of(result, data);
        PyErr_Clear();
    }
    /* Also after a failure above, so that the error is torch's. */
    result = empty_by_python(index, dtype, ndim, shape, strides);
    if (result == NULL && device == torch.cpu && PyErr_ExceptionMatches(PyExc_RuntimeError) && pool_drop()) {
        PyErr_Clear(); /* memory may have run out, and there is more now */
        result = empty_by_python(index, dtype, ndim, shape, strides);
    }
    fresh made = result ? checked(result, index, dtype, ndim, shape, strides) : fresh_of(NULL, NULL);
    if (made.object && device == torch.cpu && Py_IS_TYPE(result, torch_tensor) &&
        Py_REFCNT(result) == 1) { /* otherwise other code refers to it too */
        void *const impl = torch_impl_of(result);
        if (impl == NULL || torch_pool(impl, &made.data)) Py_CLEAR(made.object);
    }
    return fresh_of(made.object, made.data);
}

fresh torch_fresh(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    return empty(-1, dtype, ndim, shape, strides);
}

fresh torch_fresh_like(const operand *like, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *const a = &like->array;
    int64_t steps[GORSQRT_MAX_NDIM];
    for (int d = 0; d < a->ndim; d++) steps[d] = strides[d] / gorsqrt_item_size[dtype];
    return empty(a->device == CUDA ? a->index : -1, dtype, a->ndim, a->shape, steps);
}

int torch_written(PyObject *out, PyObject *input) {
    (void)input;
    torch_count_write(out);
    return 0;
}

PyObject *torch_call(bool in_place, PyObject *input, PyObject *out) {
    static PyObject *functions[2]; /* functions of gorsqrt.torch._calls, held until the process ends */
    PyObject **const function = &functions[in_place];
    if (*function == NULL) {
        PyObject *module = PyImport_ImportModule("gorsqrt.torch._calls");
        *function = module ? PyObject_GetAttrString(module, in_place ? "rsqrt_" : "rsqrt") : NULL;
        Py_XDECREF(module);
    }
    return *function ? PyObject_CallFunctionObjArgs(*function, input, out, NULL) : NULL;
}
