/* torch's tensors as far as they can be read and written without torch's dispatcher: what a tensor
 * is, what is active in the calling thread, and torch's own C functions. */
#ifndef GORSQRT_TORCH_DOOR_H
#define GORSQRT_TORCH_DOOR_H

#include "go.h"

/* The address of an at::Tensor, which is one pointer to a TensorImpl. */
typedef void *torch_handle;

/* torch's own functions. Those of its stable C ABI answer 0 if all went well; NULL stands for an
 * optional one that this torch lacks. Four are C++'s, known by their mangled names. */
typedef struct {
    int32_t (*cpu)(void), (*cuda)(void), (*strided)(void);
    int32_t (*get_dim)(torch_handle, int64_t *);
    int32_t (*get_sizes)(torch_handle, const int64_t **);
    int32_t (*get_strides)(torch_handle, const int64_t **);
    int32_t (*get_numel)(torch_handle, int64_t *);
    int32_t (*get_dtype)(torch_handle, int32_t *);
    int32_t (*get_layout)(torch_handle, int32_t *); /* optional */
    int32_t (*get_device_type)(torch_handle, int32_t *);
    int32_t (*get_device_index)(torch_handle, int32_t *);
    int32_t (*get_data)(torch_handle, void **);
    bool (*grad_mode)(void);
    int64_t (*function_modes)(void);
    bool (*requires_grad)(const void *impl);
    void (*bump_version)(torch_handle);
    int32_t (*empty_strided)(int64_t, const int64_t *, const int64_t *, int32_t, int32_t, int32_t, torch_handle *);
    int32_t (*delete_tensor)(torch_handle);
    int32_t (*get_const_data)(torch_handle, const void **);            /* optional */
    const void *(*autograd_meta)(const void *impl);                    /* optional */
    int32_t (*to_pyobject)(torch_handle, PyTypeObject *, PyObject **); /* optional */
    int32_t (*current_stream)(int32_t, void **); /* of a CUDA device; NULL if this torch is built without CUDA */
} torch_functions;

/* torch as it is installed here, once somebody else has imported it. */
typedef struct {
    bool known; /* all that is needed of the fields below */
    torch_functions call;
    int32_t cpu, cuda, strided;        /* torch's numbers */
    int32_t number_of[GORSQRT_DTYPES]; /* torch's number of a dtype, */
    PyObject *dtype[GORSQRT_COMPUTED]; /* and its object */
    PyObject *get_default_dtype, *empty_strided;
    /* Of the open door: torch's rsqrt and rsqrt_; the function that answers the innermost hooks on
     * saved tensors, or None if torch is too old; __torch_function__ of classes that leave it
     * torch's, and of those that switch it off. */
    PyObject *rsqrt[2], *saved_hooks, *function, *no_function;
} torch_here;

extern torch_here torch;

/* torch's classes; NULL until torch is found. */
extern PyTypeObject *torch_tensor, *torch_parameter;

/* Whether a type is Tensor or a subclass; -1 with an exception set. */
int torch_is_tensor(PyTypeObject *type);

/* A tensor. Strides count elements. All of it holds as long as the GIL is ours and the tensor
 * lives. */
typedef struct {
    void *data;
    const int64_t *shape, *strides;
    int64_t n, ndim;
    int32_t dtype;
    bool on_cuda;
} torch_look;

/* Reads what can be read of any strided tensor. */
bool torch_look_at(torch_look *t, torch_handle tensor, bool written);

/* The at::Tensor of an object: it owns nothing, and holds as long as the object lives. It is of use
 * while the door is open. */
torch_handle torch_handle_of(PyObject *object);

/* A tensor's TensorImpl, also while the door is not open; NULL with an exception set. */
void *torch_impl_of(PyObject *object);

/* What stands between a tensor and a direct call. */
typedef enum {
    TORCH_ORDINARY, /* nothing: read and write it */
    TORCH_RECORDED, /* a gradient is to be recorded, and nothing else */
    TORCH_SUBCLASS, /* its class, and nothing else but a gradient, perhaps */
    TORCH_CONJUGATE,
    TORCH_OTHER, /* torch's dispatcher; also with an exception set */
} torch_state;

/* The state of a tensor that is to be read, or also written, and whether it is on a CUDA device. */
torch_state torch_state_of(PyObject *object, bool written, bool *on_cuda);

/* Whether torch would record a gradient of a function of this tensor. */
bool torch_is_recorded(PyObject *object);

/* Whether a tensor is ordinary; if so, looks at it. False also with an exception set. */
bool torch_is_ordinary(PyObject *object, bool written, torch_look *t);

/* Whether a tensor of any state has memory and a dtype of ours; if so, looks at it. */
bool torch_is_readable(PyObject *object, bool written, torch_look *t);

/* Whether a tensor is a strided one in the CPU's memory. */
bool torch_is_strided(PyObject *object);

bool torch_is_contiguous(const torch_look *t);

/* Counts a write into an ordinary tensor, as autograd wants to know. */
void torch_count_write(PyObject *object);

/* A function of torch's libraries; NULL if there is none. */
void *torch_symbol(const char *name);

/* Lets a function of gorsqrt/_torch_door.py find out how the installed torch looks. If it can't
 * now, since a mode or transform is active, the next call asks again; and so it does after Ctrl-C,
 * or if memory or the stack was too small, whose exception stays set. False if this torch looks
 * otherwise than that function knows. */
bool torch_find_out(const char *which, PyObject *tensor);

/* Adds the functions that gorsqrt/_torch_door.py calls. */
int torch_door_install(PyObject *module);

#endif
