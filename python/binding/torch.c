/* torch's tensors, without torch at build time or at import.
 *
 * An ordinary tensor is read and written directly, by torch's own C functions, found when somebody else has imported torch.
 * Ordinary is what leaves torch nothing to do but the arithmetic: exactly a Tensor or Parameter, strided, in the CPU's memory or
 * a CUDA device's, without a gradient to record, while no mode, transform, trace or dual level is active. Everything else is left
 * to the package gorsqrt/torch and torch's dispatcher.
 *
 * Two words tell most of it. A tensor's dispatch keys say what it is: conjugated, meta, sparse, a wrapper, made in inference mode
 * …; the calling thread's say what is active: dispatch modes, transforms of functorch, tracing, autocast, inference mode. What
 * they are for ordinary tensors, and where a tensor has them, gorsqrt/_torch_door.py finds out from the installed torch; until it
 * has, no tensor is ordinary. */
#include "binding.h"

#include <dlfcn.h>
#include <string.h>

/* The address of an at::Tensor, which is one pointer to a TensorImpl. */
typedef void *handle;

/* torch's own functions. Those of its stable C ABI answer 0 where all went well; the last ones are NULL where torch is too old.
 * Four are C++'s, known by their mangled names. */
static struct {
    int32_t (*cpu)(void), (*cuda)(void), (*strided)(void);
    int32_t (*get_dim)(handle, int64_t *);
    int32_t (*get_sizes)(handle, const int64_t **);
    int32_t (*get_strides)(handle, const int64_t **);
    int32_t (*get_numel)(handle, int64_t *);
    int32_t (*get_dtype)(handle, int32_t *);
    int32_t (*get_layout)(handle, int32_t *);
    int32_t (*get_device_type)(handle, int32_t *);
    int32_t (*get_device_index)(handle, int32_t *);
    int32_t (*get_data)(handle, void **);
    bool (*grad_mode)(void);
    int64_t (*function_modes)(void);
    bool (*requires_grad)(const void *impl);
    void (*bump_version)(handle);
    int32_t (*empty_strided)(int64_t, const int64_t *, const int64_t *, int32_t, int32_t, int32_t, handle *);
    int32_t (*delete_tensor)(handle);
    int32_t (*get_const_data)(handle, const void **);
    const void *(*autograd_meta)(const void *impl);
    int32_t (*to_pyobject)(handle, PyTypeObject *, PyObject **);
    int32_t (*current_stream)(int32_t, void **); /* of a CUDA device; NULL where this torch is built without CUDA */
} api;

static const struct {
    void *place;
    const char *name;
    bool optional;
} functions[] = {
    {&api.cpu, "aoti_torch_device_type_cpu", false},
    {&api.cuda, "aoti_torch_device_type_cuda", false},
    {&api.strided, "aoti_torch_layout_strided", false},
    {&api.get_dim, "aoti_torch_get_dim", false},
    {&api.get_sizes, "aoti_torch_get_sizes", false},
    {&api.get_strides, "aoti_torch_get_strides", false},
    {&api.get_numel, "aoti_torch_get_numel", false},
    {&api.get_dtype, "aoti_torch_get_dtype", false},
    {&api.get_layout, "aoti_torch_get_layout", true},
    {&api.get_device_type, "aoti_torch_get_device_type", false},
    {&api.get_device_index, "aoti_torch_get_device_index", false},
    {&api.get_data, "aoti_torch_get_data_ptr", false},
    {&api.grad_mode, "aoti_torch_grad_mode_is_enabled", false},
    {&api.function_modes, "_ZN2at4impl22PythonTorchFunctionTLS9stack_lenEv", false},
    {&api.requires_grad, "_ZNK3c1010TensorImpl13requires_gradEv", false},
    {&api.bump_version, "_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE", false},
    {&api.empty_strided, "aoti_torch_empty_strided", false},
    {&api.delete_tensor, "aoti_torch_delete_tensor_object", false},
    {&api.get_const_data, "torch_get_const_data_ptr", true},
    {&api.autograd_meta, "_ZNK3c1010TensorImpl13autograd_metaEv", true},
    {&api.to_pyobject, "torch_tensor_to_pyobject", true},
};

/* The dtypes by torch's names: its number of each, its functions that say them, and its objects of those that are computed. */
static const char *const dtype_name[GORSQRT_DTYPES] = {
    [GORSQRT_F16] = "float16",   [GORSQRT_BF16] = "bfloat16",   [GORSQRT_F32] = "float32", [GORSQRT_F64] = "float64",
    [GORSQRT_C64] = "complex64", [GORSQRT_C128] = "complex128", [GORSQRT_BOOL] = "bool",   [GORSQRT_I8] = "int8",
    [GORSQRT_U8] = "uint8",      [GORSQRT_I16] = "int16",       [GORSQRT_U16] = "uint16",  [GORSQRT_I32] = "int32",
    [GORSQRT_U32] = "uint32",    [GORSQRT_I64] = "int64",       [GORSQRT_U64] = "uint64",
};
enum { NUMBERS = 64 }; /* torch has some 48 dtypes */
static int8_t dtype_of[NUMBERS];
static int32_t number_of[GORSQRT_DTYPES];
static PyObject *dtype_object[GORSQRT_COMPUTED];

static bool known; /* all that is needed of the above */
static int32_t cpu, cuda, strided;
static PyObject *name_cdata, *get_default_dtype, *empty_strided;

/* What the door needs; of no use until `open`. */
static struct {
    bool open, shut;                  /* shut: the door doesn't know this torch, and gorsqrt.torch serves all tensors */
    Py_ssize_t tensor_at, keys_at;    /* bytes from a Python object to its at::Tensor, and from a TensorImpl to its keys */
    uint64_t keys, inference_keys;    /* of an ordinary tensor, and of one made in inference mode */
    uint64_t inference[2];            /* the thread's words in inference mode; outside both are 0 */
    uint64_t autocast, autocast_cuda; /* what autocast changes of the second, for any device and for CUDA's */
    bool cuda_open;                   /* the next two, which can be known once there is a tensor on a CUDA device */
    uint64_t cuda_keys, cuda_inference_keys;
    uint64_t conj_keys;                /* of a complex tensor that is its memory's conjugate */
    PyObject *level_dict, *level_name; /* where torch.autograd.forward_ad keeps its level: -1 if none is active */
    PyObject *rsqrt[2];                /* torch's own functions: fresh, in place */
    PyObject *saved_hooks; /* answers the innermost hooks on saved tensors, or None; itself None if torch is too old */
    PyObject *function, *no_function; /* __torch_function__ of classes that leave it torch's, and of those that switch it off */
} door;

PyTypeObject *torch_tensor, *torch_parameter;

/* Two words of the calling thread, c10's thread-local raw_local_dispatch_key_set. dlsym gives the address that a variable has in
 * the thread that asks, which holds for as long as that lives. */
static void *c10;
static const uint64_t *thread_keys(void) {
    static _Thread_local const uint64_t *keys;
    if (keys == NULL) keys = dlsym(c10, "_ZN3c104impl26raw_local_dispatch_key_setE");
    return keys;
}

/* The library that torch has loaded, by name; NULL where there is none of it. It is never unloaded. */
static void *loaded(const char *name) {
    return dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
}

/* Finds torch's functions and its numbers of the dtypes. 1, 0 if this torch lacks one that is needed, -1 with an exception set. */
static int find_functions(void) {
    void *const library = loaded("libtorch_cpu.so");
    c10 = loaded("libc10.so");
    bool found = library && c10;
    for (size_t i = 0; found && i < sizeof functions / sizeof *functions; i++) {
        void *const function = dlsym(library, functions[i].name); /* also of what it depends on: libc10 */
        memcpy(functions[i].place, &function, sizeof function);
        found = function || functions[i].optional;
    }
    if (!found) return 0;
    torch_storage_find(library);
    void *const on_cuda = loaded("libtorch_cuda.so");
    void *const current_stream = on_cuda ? dlsym(on_cuda, "aoti_torch_get_current_cuda_stream") : NULL;
    memcpy(&api.current_stream, &current_stream, sizeof current_stream);
    cpu = api.cpu();
    cuda = api.cuda();
    strided = api.strided();
    memset(dtype_of, GORSQRT_DTYPES, sizeof dtype_of);
    for (int t = 0; t < GORSQRT_DTYPES; t++) {
        char name[40] = "aoti_torch_dtype_";
        int32_t (*const number)(void) = (int32_t (*)(void))dlsym(library, strcat(name, dtype_name[t]));
        if (number == NULL) continue; /* a dtype that this torch lacks */
        number_of[t] = number();
        if (number_of[t] >= 0 && number_of[t] < NUMBERS) dtype_of[number_of[t]] = (int8_t)t;
        if (t < GORSQRT_COMPUTED && dtype_object[t] == NULL) dtype_object[t] = imported("torch", dtype_name[t]);
        if (PyErr_Occurred()) return -1;
    }
    return 1;
}

/* Finds torch, once it is whole. 1, 0 where there is none, -1 with an exception set. */
static int find(void) {
    PyObject *tensor = imported("torch", "Tensor"), *parameter = NULL;
    if (tensor) parameter = imported("torch.nn.parameter", "Parameter");
    if (parameter && get_default_dtype == NULL) get_default_dtype = imported("torch", "get_default_dtype");
    if (parameter && get_default_dtype && empty_strided == NULL) empty_strided = imported("torch", "empty_strided");
    int found = PyErr_Occurred() ? -1 : parameter && get_default_dtype && empty_strided;
    /* In a forked child the loader may be out of order for good: who has a Go, or gets one, may use it. */
    if (found == 1 && go_ask() == NULL) found = -1;
    int const functions_found = found == 1 ? find_functions() : 0;
    if (functions_found < 0) found = -1;
    if (found == 1) {
        known = functions_found;
        torch_parameter = (PyTypeObject *)parameter;
        torch_tensor = (PyTypeObject *)tensor;
        return 1;
    }
    Py_XDECREF(tensor);
    Py_XDECREF(parameter);
    return found;
}

int torch_is_tensor(PyTypeObject *type) {
    int const found = torch_tensor ? 1 : find();
    return found <= 0 ? found : PyType_IsSubtype(type, torch_tensor);
}

/* What can be read of any strided tensor in the CPU's memory or a CUDA device's. The arrays are torch's, and hold while the tensor does and nobody
 * changes its shape: as long as the GIL is ours. */
static bool look(torch_look *t, handle tensor, bool written) {
    int32_t number;
    if (api.get_dim(tensor, &t->ndim) || api.get_sizes(tensor, &t->shape) || api.get_strides(tensor, &t->strides) ||
        api.get_numel(tensor, &t->n) || api.get_dtype(tensor, &number))
        return false;
    t->dtype = number >= 0 && number < NUMBERS ? dtype_of[number] : GORSQRT_DTYPES;
    /* The memory is the storage's, which the tensor owns; another thread that resizes it meanwhile is in error, as with torch's
     * own functions. Asking for it to be written ends a copy-on-write. */
    if (written || api.get_const_data == NULL) return api.get_data(tensor, &t->data) == 0;
    return api.get_const_data(tensor, (const void **)&t->data) == 0;
}

/* What is ordinary. */

bool torch_find_out(const char *which, PyObject *tensor) {
    PyObject *module = PyImport_ImportModule("gorsqrt._torch_door");
    PyObject *done = module ? PyObject_CallMethod(module, which, tensor ? "O" : NULL, tensor) : NULL;
    bool const unlike = done == NULL && PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError) &&
                        !PyErr_ExceptionMatches(PyExc_RecursionError);
    if (unlike) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(module);
    return !unlike;
}

static void open_door(const char *which, PyObject *tensor) {
    if (!torch_find_out(which, tensor)) door.shut = true;
}

/* Whether a tensor with these keys is ordinary and on a CUDA device, as is_strided asks. False also with an exception set. */
static bool is_plain_on_cuda(PyObject *object, uint64_t keys, bool written, bool inference) {
    if (api.current_stream == NULL || (thread_keys()[1] & door.autocast_cuda)) return false;
    if (!door.cuda_open) {
        int32_t device;
        handle const tensor = (char *)object + door.tensor_at;
        if (!door.shut && api.get_device_type(tensor, &device) == 0 && device == cuda) open_door("open_cuda", object);
        if (!door.cuda_open) return false;
    }
    return keys == door.cuda_keys || (keys == door.cuda_inference_keys && (!written || inference));
}

/* A tensor's dispatch keys. The object owns the TensorImpl for as long as it lives, and the caller keeps it alive. */
static uint64_t keys_of(PyObject *object) {
    const char *const impl = *(const char *const *)((const char *)object + door.tensor_at);
    uint64_t keys;
    memcpy(&keys, impl + door.keys_at, sizeof keys);
    return keys;
}

/* Whether no mode, transform or trace is active in this thread, but inference mode, perhaps. False also with an exception set. */
static bool is_quiet(bool *inference) {
    if (!door.open) {
        if (known && !door.shut) open_door("open_door", NULL);
        if (!door.open) return false;
    }
    const uint64_t *const keys = thread_keys();
    uint64_t const included = keys[0], excluded = keys[1] & ~door.autocast;
    *inference = included == door.inference[0] && excluded == door.inference[1];
    return ((included | excluded) == 0 || *inference) && api.function_modes() == 0;
}

/* Whether autograd knows something of a tensor. If not, it has neither a gradient to record nor a tangent. */
static bool has_meta(PyObject *object) {
    return api.autograd_meta == NULL || api.autograd_meta(*(void **)((char *)object + door.tensor_at)) != NULL;
}

/* Whether a tensor may have a tangent, since a dual level is active. */
static bool is_dual(PyObject *object) {
    if (!has_meta(object)) return false;
    PyObject *level = PyDict_GetItemWithError(door.level_dict, door.level_name); /* borrowed */
    bool const dual = level == NULL || PyLong_AsLong(level) != -1;
    if (dual) PyErr_Clear();
    return dual;
}

/* Whether a tensor is one in the CPU's memory or a CUDA device's, and no wrapper, view of another kind or the like. False also
 * with an exception set. */
static bool is_strided(PyObject *object, bool written, bool inference, bool *on_cuda) {
    uint64_t const keys = keys_of(object);
    *on_cuda = keys != door.keys && keys != door.inference_keys;
    return *on_cuda ? is_plain_on_cuda(object, keys, written, inference) : keys == door.keys || !written || inference;
}

/* Whether a tensor is ordinary but for a gradient that is to be recorded, perhaps. False also with an exception set. */
static bool is_plain(PyObject *object, bool written, bool *on_cuda) {
    PyTypeObject *const type = Py_TYPE(object);
    bool inference;
    return (type == torch_tensor || type == torch_parameter) && is_quiet(&inference) &&
           is_strided(object, written, inference, on_cuda) && !is_dual(object);
}

/* Whether torch would record a gradient of a function of this tensor. */
static bool is_recorded(PyObject *object) {
    handle const tensor = (char *)object + door.tensor_at;
    return has_meta(object) && api.grad_mode() && api.requires_grad(*(void **)tensor);
}

bool torch_is_ordinary(PyObject *object, bool written, torch_look *t) {
    if (!is_plain(object, written, &t->on_cuda)) return false;
    if (is_recorded(object)) return false;
    return look(t, (char *)object + door.tensor_at, written) && t->dtype != GORSQRT_DTYPES && (t->data || t->n == 0);
}

/* Reading and writing. */

bool torch_is_contiguous(const torch_look *t) {
    int64_t step = 1;
    for (int64_t d = t->ndim - 1; d >= 0; d--) {
        if (t->shape[d] != 1 && t->strides[d] != step) return t->n == 0;
        step *= t->shape[d];
    }
    return true;
}

/* torch's default dtype, what its booleans and integers are computed in; -1 with an exception set. */
static int32_t torchs_default_dtype(void) {
    PyObject *now = PyObject_CallObject(get_default_dtype, NULL);
    int32_t dtype = now ? 0 : -1;
    while (now && dtype < GORSQRT_COMPUTED && dtype_object[dtype] != now) dtype++;
    Py_XDECREF(now);
    return dtype;
}

/* Where a tensor on a CUDA device is, and the stream that this thread uses there now. 0 where that is known. */
static int take_place(operand *o, handle tensor) {
    void *stream;
    if (api.current_stream == NULL || api.get_device_index(tensor, &o->array.index) ||
        api.current_stream(o->array.index, &stream))
        return -1;
    o->array.device = CUDA;
    o->array.launches = 1;
    o->array.stream = stream ? (uintptr_t)stream : LEGACY_STREAM;
    return 0;
}

/* The TensorImpl of a tensor: its address is a Tensor that owns nothing, which holds while the object lives. NULL with an exception
 * set. */
static void *impl_of(PyObject *object) {
    void *impl;
    if (door.open) {
        memcpy(&impl, (const char *)object + door.tensor_at, sizeof impl);
        return impl;
    }
    PyObject *cdata = PyObject_GetAttr(object, name_cdata);
    impl = cdata ? PyLong_AsVoidPtr(cdata) : NULL;
    Py_XDECREF(cdata);
    return impl;
}

int torch_take(operand *o, bool written) {
    if (!known) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: this version of torch is not one whose tensors can be read");
        return -1;
    }
    void *impl = impl_of(o->object);
    if (impl == NULL) return -1;
    int32_t layout = strided, device = cpu;
    torch_look t;
    if ((api.get_layout && api.get_layout(&impl, &layout)) || api.get_device_type(&impl, &device) || layout != strided ||
        (device != cpu && (device != cuda || take_place(o, &impl))) || !look(&t, &impl, written)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "gorsqrt: a tensor's memory can't be read: it is not a strided one on the CPU or a CUDA device");
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
        /* Copies: a launch is decided without the GIL, and taking the other operand may run anybody's code. */
        bool fits = true;
        for (int64_t d = 0; d < t.ndim; d++) {
            o->shape[d] = t.shape[d];
            /* a dimension of one item or none may have any stride */
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

void torch_written(PyObject *object) {
    uint64_t const keys = keys_of(object);
    bool const inference = keys == door.inference_keys || (door.cuda_open && keys == door.cuda_inference_keys);
    if (!inference) api.bump_version((char *)object + door.tensor_at); /* those have no version */
}

/* torch.empty_strided, called as in Python; strides in elements. */
static PyObject *empty_by_python(int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    PyObject *sizes = tuple_of(ndim, shape), *steps = sizes ? tuple_of(ndim, strides) : NULL;
    PyObject *device = index < 0 ? PyUnicode_FromString("cpu") : PyUnicode_FromFormat("cuda:%d", (int)index);
    PyObject *options = device ? Py_BuildValue("{sOsO}", "dtype", dtype_object[dtype], "device", device) : NULL;
    PyObject *arguments = steps && options ? PyTuple_Pack(2, sizes, steps) : NULL;
    PyObject *result = arguments ? PyObject_Call(empty_strided, arguments, options) : NULL;
    Py_XDECREF(arguments);
    Py_XDECREF(options);
    Py_XDECREF(device);
    Py_XDECREF(sizes);
    Py_XDECREF(steps);
    return result;
}

/* Where the memory of such a tensor is, which may be anybody's who has put a function in torch.empty_strided's place. NULL with an
 * exception set if it is not what was asked for. */
static fresh checked(PyObject *object, int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    if (PyType_IsSubtype(Py_TYPE(object), torch_tensor)) {
        operand o;
        const gorsqrt_array *const a = &o.array;
        bool fits = operand_take(&o, object, TORCH_KERNEL, true) == 0 && a->dtype == dtype && a->ndim == ndim &&
                    a->device == (index < 0 ? CPU : CUDA);
        for (int d = 0; fits && d < ndim; d++) {
            fits = a->shape[d] == shape[d] && a->strides[d] == strides[d] * gorsqrt_item_size[dtype];
        }
        void *const data = fits ? a->data : NULL; /* the tensor's */
        operand_release(&o);
        if (fits) return fresh_of(object, data);
    }
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "rsqrt(): torch.empty_strided answers with another tensor");
    Py_DECREF(object);
    return fresh_of(NULL, NULL);
}

/* The result is torch's in every respect and its own to resize; its memory is aligned to 64 bytes, by torch's allocator or the
 * pool. */
fresh torch_result(int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    PyObject *result = NULL;
    void *data;
    handle tensor;
    int32_t const device = index < 0 ? cpu : cuda;
    if (api.to_pyobject && api.empty_strided(ndim, shape, strides, number_of[dtype], device, index, &tensor) == 0) {
        bool const has = api.get_data(tensor, &data) == 0;
        int const failed = has && device == cpu ? torch_pool(*(void **)tensor, &data) : 0;
        if (!has || failed || api.to_pyobject(tensor, NULL, &result)) result = NULL;
        api.delete_tensor(tensor);
        if (result || failed) return fresh_of(result, data);
        PyErr_Clear();
    }
    /* Also where that failed, so that the error is torch's. */
    result = empty_by_python(index, dtype, ndim, shape, strides);
    if (result == NULL && device == cpu && PyErr_ExceptionMatches(PyExc_RuntimeError) && pool_drop()) {
        PyErr_Clear(); /* no memory, perhaps, and there is more now */
        result = empty_by_python(index, dtype, ndim, shape, strides);
    }
    fresh made = result ? checked(result, index, dtype, ndim, shape, strides) : fresh_of(NULL, NULL);
    if (made.object && device == cpu && Py_IS_TYPE(result, torch_tensor) &&
        Py_REFCNT(result) == 1) { /* else others have it too */
        void *const impl = impl_of(result);
        if (impl == NULL || torch_pool(impl, &made.data)) Py_CLEAR(made.object);
    }
    return fresh_of(made.object, made.data);
}

/* For gorsqrt/_torch_door.py and the package gorsqrt/torch. */

static PyObject *thread_keys_py(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    const uint64_t *const keys = c10 ? thread_keys() : NULL;
    if (keys == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: this torch does not show what is active in a thread");
        return NULL;
    }
    return Py_BuildValue("KK", (unsigned long long)keys[0], (unsigned long long)keys[1]);
}

static PyObject *open_py(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long keys, conj_keys, inference_keys, inference[2], autocast, autocast_cuda;
    if (!PyArg_ParseTuple(args, "nnKKK(KK)KKO!(OO)OOO", &door.tensor_at, &door.keys_at, &keys, &conj_keys, &inference_keys,
                          &inference[0], &inference[1], &autocast, &autocast_cuda, &PyDict_Type, &door.level_dict,
                          &door.rsqrt[0], &door.rsqrt[1], &door.saved_hooks, &door.function, &door.no_function))
        return NULL;
    door.keys = keys;
    door.conj_keys = conj_keys;
    door.inference_keys = inference_keys;
    door.inference[0] = inference[0];
    door.inference[1] = inference[1];
    door.autocast = autocast | autocast_cuda;
    door.autocast_cuda = autocast_cuda;
    /* for ever, as all that is held here */
    Py_INCREF(door.level_dict);
    Py_INCREF(door.rsqrt[0]);
    Py_INCREF(door.rsqrt[1]);
    Py_INCREF(door.saved_hooks);
    Py_INCREF(door.function);
    Py_INCREF(door.no_function);
    door.open = true;
    Py_RETURN_NONE;
}

static PyObject *open_cuda_py(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long keys, inference_keys;
    if (!PyArg_ParseTuple(args, "KK", &keys, &inference_keys)) return NULL;
    door.cuda_keys = keys;
    door.cuda_inference_keys = inference_keys;
    door.cuda_open = true;
    Py_RETURN_NONE;
}

/* What a kernel is given; a kernel may be the first who asks for torch. NOT_AN_ARRAY with an exception set. */
static container recognise_for_kernel(PyObject *object) {
    container const found = recognise(object);
    if (found == TORCH_TENSOR) return TORCH_KERNEL;
    if (found == OVERRIDES_UFUNC) {
        numpy_refuse("rsqrt", "input", object);
        return NOT_AN_ARRAY;
    }
    if (found == NOT_AN_ARRAY && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "gorsqrt: a kernel was given no array");
    return found;
}

static PyObject *fresh_py(PyObject *module, PyObject *input) {
    (void)module;
    container const in = recognise_for_kernel(input);
    return in == NOT_AN_ARRAY ? NULL : call_fresh(input, in);
}

static PyObject *into_py(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *out, *input;
    if (!PyArg_ParseTuple(args, "OO", &out, &input)) return NULL;
    container const to = recognise_for_kernel(out);
    container const in = to == NOT_AN_ARRAY ? to : recognise_for_kernel(input);
    return in == NOT_AN_ARRAY ? NULL : call_into("rsqrt", out == input, input, in, out, to);
}

static PyObject *is_plain_py(PyObject *module, PyObject *tensor) {
    (void)module;
    bool on_cuda;
    bool const is = is_plain(tensor, false, &on_cuda);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(is);
}

/* By which door tensors go. Asking opens it, if that can be done now. */
static PyObject *door_py(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    if (torch_is_tensor(&PyBaseObject_Type) < 0) return NULL;
    if (torch_tensor == NULL) return PyUnicode_FromString("no torch yet");
    if (known && !door.open && !door.shut) open_door("open_door", NULL);
    return PyErr_Occurred() ? NULL : PyUnicode_FromString(door.open ? "fast" : "by ops");
}

/* Tensors that are ordinary but for one thing: a gradient to record, a subclass, a conjugate. Each function answers NULL if the
 * tensor is none of its own, and with an exception set if it failed. */

/* Up to so many items torch computes and records sooner than Python can record: of 16 bits, and of complex numbers. */
enum { FEW = 8192, FEW_COMPLEX = 256 };

/* Whether y is a tensor like t, in memory of its own. */
static bool is_like(torch_look *y, PyObject *object, const torch_look *t) {
    bool on_cuda;
    if (!PyType_IsSubtype(Py_TYPE(object), torch_tensor) || !is_strided(object, true, true, &on_cuda) || on_cuda ||
        !look(y, (char *)object + door.tensor_at, true))
        return false;
    bool like = y->dtype == t->dtype && y->ndim == t->ndim && y->n == t->n && (y->data != t->data || t->n == 0);
    for (int64_t d = 0; like && d < t->ndim; d++) like = y->shape[d] == t->shape[d];
    return like;
}

/* Writes input's result, which t tells of, into object's memory as if torch did not see it. */
static int write_over(PyObject *object, PyObject *input, const torch_look *t) {
    torch_look y;
    if (!is_like(&y, object, t)) {
        PyErr_SetString(PyExc_RuntimeError, "rsqrt(): torch.rsqrt answers with a tensor of another kind");
        return -1;
    }
    if (torch_is_contiguous(t) && torch_is_contiguous(&y)) return run_plain(t->dtype, t->n, y.data, t->data);
    PyObject *same = call_into("rsqrt", false, input, TORCH_KERNEL, object, TORCH_KERNEL);
    Py_XDECREF(same);
    return same ? 0 : -1;
}

/* In place: our result waits in memory of its own until torch has recorded and written. */
static PyObject *record_in_place(PyObject *input, const torch_look *t) {
    if (!torch_is_contiguous(t)) return NULL;
    size_t const bytes = (size_t)(t->n * gorsqrt_item_size[t->dtype]);
    void *const ours = malloc(bytes ? bytes : 1);
    if (ours == NULL) return PyErr_NoMemory();
    PyObject *result = NULL;
    if (run_plain(t->dtype, t->n, ours, t->data) == 0) result = PyObject_CallFunctionObjArgs(door.rsqrt[1], input, NULL);
    torch_look y;
    if (result && look(&y, (char *)input + door.tensor_at, true) && y.dtype == t->dtype && y.n == t->n && y.n > 0)
        memcpy(y.data, ours, bytes);
    free(ours);
    return result;
}

/* A gradient is to be recorded: torch's own function does that. float32 and float64 have our bits then; of few items of other
 * dtypes our result is written over torch's before anybody sees it. The node that torch has recorded saves that memory, so that
 * the derivatives are torch's own formulas of our bits. Hooks on saved tensors would see torch's bits. */
static PyObject *record(bool in_place, PyObject *input) {
    torch_look t;
    if (!look(&t, (char *)input + door.tensor_at, false) || t.dtype >= GORSQRT_COMPUTED) return NULL;
    if (t.dtype == GORSQRT_F32 || t.dtype == GORSQRT_F64)
        return PyObject_CallFunctionObjArgs(door.rsqrt[in_place], input, NULL);
    bool const is_complex = t.dtype == GORSQRT_C64 || t.dtype == GORSQRT_C128;
    if (t.n > (is_complex ? FEW_COMPLEX : FEW)) return NULL;
    if (door.saved_hooks == Py_None) return NULL;
    PyObject *hooks = PyObject_CallFunctionObjArgs(door.saved_hooks, Py_False, NULL);
    Py_XDECREF(hooks);
    if (hooks != Py_None) return NULL;
    if (in_place) return record_in_place(input, &t);
    PyObject *result = PyObject_CallFunctionObjArgs(door.rsqrt[0], input, NULL);
    if (result && write_over(result, input, &t) < 0) Py_CLEAR(result);
    return result;
}

/* The class of results that torch's own __torch_function__ makes for tensors of a subclass, borrowed; NULL if the class has a
 * __torch_function__ of its own, or with an exception set. */
static PyObject *class_of_results(PyTypeObject *type) {
    PyObject *function = PyObject_GetAttrString((PyObject *)type, "__torch_function__");
    if (function == NULL) return NULL;
    PyObject *result = NULL;
    if (function == door.no_function) {
        result = (PyObject *)torch_tensor;
    } else {
        PyObject *unbound = PyObject_GetAttrString(function, "__func__");
        if (unbound == door.function) result = (PyObject *)type;
        if (unbound == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
        Py_XDECREF(unbound);
    }
    Py_DECREF(function);
    return result;
}

static PyObject *call_subclass(bool in_place, PyObject *input, PyObject *class) {
    torch_look t;
    if (!look(&t, (char *)input + door.tensor_at, in_place) || t.dtype == GORSQRT_DTYPES) return NULL;
    if (in_place) return call_into("rsqrt_", true, input, TORCH_TENSOR, input, TORCH_TENSOR);
    PyObject *const plain = call_fresh(input, TORCH_KERNEL);
    if (plain == NULL || class == (PyObject *)torch_tensor) return plain;
    PyObject *const result = PyObject_CallMethod(plain, "as_subclass", "O", class);
    Py_DECREF(plain);
    return result;
}

static PyObject *call_conjugate(PyObject *input) {
    PyObject *resolved = PyObject_CallMethod(input, "resolve_conj", NULL); /* a copy */
    if (resolved == NULL) return NULL;
    PyObject *result;
    if (is_recorded(resolved)) {
        result = record(false, resolved);
        if (result == NULL && !PyErr_Occurred()) result = torch_call(false, resolved, NULL);
    } else {
        result = call_into("rsqrt", true, resolved, TORCH_KERNEL, resolved, TORCH_KERNEL);
    }
    Py_DECREF(resolved);
    return result;
}

PyObject *torch_call_directly(bool in_place, PyObject *input) {
    bool inference, on_cuda;
    PyTypeObject *const type = Py_TYPE(input);
    if (torch_tensor == NULL || !PyType_IsSubtype(type, torch_tensor) || !is_quiet(&inference) || is_dual(input)) return NULL;
    bool const is_subclass = type != torch_tensor && type != torch_parameter;
    PyObject *const class = is_subclass ? class_of_results(type) : (PyObject *)torch_tensor;
    if (class == NULL) return NULL;
    if (is_strided(input, in_place, inference, &on_cuda)) {
        if (is_recorded(input)) return on_cuda ? NULL : record(in_place, input);
        return is_subclass ? call_subclass(in_place, input, class) : NULL;
    }
    if (PyErr_Occurred() || in_place || is_subclass || keys_of(input) != door.conj_keys) return NULL;
    return call_conjugate(input);
}

static PyObject *directly_py(PyObject *module, PyObject *input) {
    (void)module;
    PyObject *result = express_fresh(input);
    if (result == NULL && !PyErr_Occurred()) result = torch_call_directly(false, input);
    return result || PyErr_Occurred() ? result : Py_NewRef(Py_None);
}

PyObject *torch_call(bool in_place, PyObject *input, PyObject *out) {
    static PyObject *functions[2]; /* of gorsqrt.torch._calls, held for ever */
    PyObject **const function = &functions[in_place];
    if (*function == NULL) {
        PyObject *module = PyImport_ImportModule("gorsqrt.torch._calls");
        *function = module ? PyObject_GetAttrString(module, in_place ? "rsqrt_" : "rsqrt") : NULL;
        Py_XDECREF(module);
    }
    return *function ? PyObject_CallFunctionObjArgs(*function, input, out, NULL) : NULL;
}

int torch_install(PyObject *module) {
    /* Static: the functions refer to it for as long as the process lives. */
    static PyMethodDef methods[] = {
        {"torch_thread_keys", thread_keys_py, METH_NOARGS, "torch's dispatch keys of this thread: (included, excluded)."},
        {"torch_open", open_py, METH_VARARGS, "Lets ordinary tensors be read and written directly."},
        {"torch_open_cuda", open_cuda_py, METH_VARARGS, "And those on CUDA devices."},
        {"torch_door", door_py, METH_NOARGS, "How torch's tensors are reached: 'fast', 'by ops', or 'no torch yet'."},
        {"torch_is_plain", is_plain_py, METH_O, "Whether a tensor is ordinary but for a gradient to record, perhaps."},
        {"torch_directly", directly_py, METH_O,
         "rsqrt of a tensor that needs no torch but for its gradient, its class or its conjugate; else None."},
        {"torch_fresh", fresh_py, METH_O, "1/sqrt(input) of a strided tensor, as if torch recorded nothing."},
        {"torch_into", into_py, METH_VARARGS,
         "(out, input): 1/sqrt(input) written to out, likewise; one may be no tensor. None: resize out first."},
        {NULL, NULL, 0, NULL},
    };
    name_cdata = PyUnicode_InternFromString("_cdata");
    door.level_name = PyUnicode_InternFromString("_current_level");
    return PyModule_AddFunctions(module, methods);
}
