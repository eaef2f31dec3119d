/* The container of an object, and one table row per kind of container. Each row's functions are in
 * one file; only this file knows all of them. Needs every container's file. */
#include "container.h"
#include "buffer.h"
#include "cuda.h"
#include "dlpack.h"
#include "jax.h"
#include "memory.h"
#include "numpy.h"
#include "torch.h"
#include "torch_door.h"

const kind kinds[CONTAINERS] = {
    [NUMPY_ARRAY] = {.take = numpy_take_array, .fresh = numpy_fresh_like, .written = numpy_written},
    [NUMPY_SCALAR] = {.take = numpy_take_scalar, .fresh = numpy_fresh_scalar, .finish = numpy_scalar},
    [ARRAY_ARRAY] = {.take = buffer_take, .fresh = buffer_fresh_array},
    [BUFFER] = {.take = buffer_take, .fresh = buffer_fresh},
    [ARRAY_INTERFACE] = {.take = buffer_take_interface, .fresh = buffer_fresh},
    [CUDA_ARRAY] = {cuda_take, memory_fresh_on_device, .on_device = DEVICE_MEMORY, .finish = cuda_finish},
    [CUPY_ARRAY] = {cuda_take_cupy, cuda_fresh_cupy, .on_device = CUPY_ARRAY},
    [DEVICE_MEMORY] = {memory_take_device, memory_fresh_on_device, .on_device = DEVICE_MEMORY},
    [TORCH_TENSOR] = {torch_take, torch_fresh_like, .on_device = TORCH_TENSOR, .written = torch_written},
    [DLPACK] = {dlpack_take, dlpack_fresh, .on_device = DEVICE_MEMORY},
    [ARRAY_API] = {dlpack_take, dlpack_fresh_in_namespace, .on_device = DEVICE_MEMORY, .finish = dlpack_to_namespace},
    [JAX_ARRAY] = {.take = jax_take, .compute = jax_compute},
};

int operand_take(operand *o, PyObject *object, container container, bool written) {
    operand_begin(o, object, container);
    return kinds[container].take(o, written);
}

/* The container of an object of unknown class. `buffer` and `dlpack`: whether the object has these
 * protocols. */
static container recognise_protocol(PyObject *object, bool buffer, bool dlpack) {
    PyObject *const type = (PyObject *)Py_TYPE(object);
    int has = dlpack ? has_attribute(type, "__array_namespace__") : 0;
    if (has > 0) {
        container const found = cuda_recognise(object);
        return found != NOT_AN_ARRAY || PyErr_Occurred() ? found : ARRAY_API;
    }
    if (has < 0) return NOT_AN_ARRAY;
    if (buffer) return BUFFER;
    has = torch_tensor ? has_attribute(type, "__torch_function__") : 0;
    if (has != 0) return has < 0 ? NOT_AN_ARRAY : TORCH_TENSOR;
    has = has_attribute(type, "__array_interface__");
    if (has != 0) return has < 0 ? NOT_AN_ARRAY : ARRAY_INTERFACE;
    container const found = cuda_recognise(object);
    return found != NOT_AN_ARRAY || PyErr_Occurred() ? found : dlpack ? DLPACK : NOT_AN_ARRAY;
}

container recognise(PyObject *object) {
    PyTypeObject *const type = Py_TYPE(object);
    container const numpys = numpy_recognise(type);
    if (numpys != NOT_AN_ARRAY || PyErr_Occurred()) return numpys;
    bool const buffer = PyObject_CheckBuffer(object);
    int is = buffer ? 0 : torch_is_tensor(type);
    if (is != 0) return is < 0 ? NOT_AN_ARRAY : TORCH_TENSOR;
    /* Ask the type, not the object: a class that has the attribute is not an array, and neither is
     * an object that answers to every name. */
    int const dlpack = type == &PyMemoryView_Type ? 0 : has_attribute((PyObject *)type, "__dlpack__");
    if (dlpack < 0) return NOT_AN_ARRAY;
    if (buffer && !dlpack) {
        is = buffer_is_array(type);
        return is < 0 ? NOT_AN_ARRAY : is ? ARRAY_ARRAY : BUFFER;
    }
    if (PyType_Check(object)) return NOT_AN_ARRAY;
    if (type == device_memory) return DEVICE_MEMORY;
    is = is_instance(object, "jax", "Array");
    if (is != 0) return is < 0 ? NOT_AN_ARRAY : JAX_ARRAY;
    return recognise_protocol(object, buffer, dlpack);
}
