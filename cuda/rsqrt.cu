/* The cuda tier. Compiled once per dtype, with -DDTYPE=f32, into ptx/f32.ptx (`make ptx`), for
 * every GPU since sm_52:
 *
 *     rsqrt_f32_cuda        contiguous, one dtype, 16-byte aligned: 1/√src[i] to dst[i] for i < n
 *     rsqrt_f32_cuda_items  any strides, alignment and casts; index and offsets fit in 31 bits
 *     rsqrt_f32_cuda_wide   the same in 64 bits
 *
 * The results are the CPU's, bit for bit (cgo/kernels.h). So the kernels use only operations whose
 * bits PTX specifies: + - · √ 1/x fma rounded to nearest, never fused by the compiler, and
 * integers. Nans are made with integers, since those of processors differ.
 *
 * dst and src are the same items or share no byte. Nothing else is read or written. Any grid that
 * covers n is right. The kernels are bound by memory: bench/results/cuda.csv has an estimate. */
#define TIER __attribute__((device, always_inline))
#define BITS 32
#define LANES 1
#define VECTORS 1
#include "../cgo/complex.h"
#define BITS 64
#define LANES 1
#define VECTORS 1
#include "../cgo/complex.h"
#pragma clang force_cuda_host_device begin
#include "../cgo/half.h"
#pragma clang force_cuda_host_device end
#include "launch.h"

#define DEVICE TIER static inline
#define KERNEL extern "C" __attribute__((global, launch_bounds(THREADS)))
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable) vectorize(disable) interleave(disable)")

#define THREAD (uint32_t)__nvvm_read_ptx_sreg_tid_x()
#define BLOCK (uint32_t)__nvvm_read_ptx_sreg_ctaid_x()
#define LAST_BLOCK ((uint32_t)__nvvm_read_ptx_sreg_nctaid_x() - 1)

/* Always four words: a vector of 16-bit items would be loaded item by item. */
typedef uint32_t words __attribute__((ext_vector_type(4)));
static_assert(sizeof(words) == VECTOR, "cuda.go asks for this alignment");

DEVICE double f64_of_bits(uint64_t bits) {
    return __builtin_bit_cast(double, bits);
}

DEVICE uint64_t bits_of_f64(double x) {
    return __builtin_bit_cast(uint64_t, x);
}

/* What complex.h asks for. */

TIER static inline f32s fma_f32s(f32s a, f32s b, f32s c) {
    return (f32s){__nvvm_fma_rn_f(a[0], b[0], c[0])};
}

TIER static inline f32s fnma_f32s(f32s a, f32s b, f32s c) {
    return (f32s){__nvvm_fma_rn_f(-a[0], b[0], c[0])};
}

TIER static inline f32s max_f32s(f32s a, f32s b) {
    return a[0] > b[0] ? a : b;
}

TIER static inline f32s min_f32s(f32s a, f32s b) {
    return a[0] < b[0] ? a : b;
}

TIER static inline bool any_f32s(i32s where) {
    return where[0] < 0;
}

TIER static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return (f64s){__nvvm_fma_rn_d(a[0], b[0], c[0])};
}

TIER static inline f64s fnma_f64s(f64s a, f64s b, f64s c) {
    return (f64s){__nvvm_fma_rn_d(-a[0], b[0], c[0])};
}

TIER static inline f64s max_f64s(f64s a, f64s b) {
    return a[0] > b[0] ? a : b;
}

TIER static inline f64s min_f64s(f64s a, f64s b) {
    return a[0] < b[0] ? a : b;
}

TIER static inline bool any_f64s(i64s where) {
    return where[0] < 0;
}

/* One item each. */

DEVICE uint32_t rsqrt_f32(uint32_t x_u32) {
    float const x_f32 = f32_of_bits(x_u32);
    uint32_t const y_u32 = bits_of_f32(__nvvm_rcp_rn_f(__nvvm_sqrt_rn_f(x_f32)));
    if (x_f32 >= 0) return y_u32;
    return x_f32 != x_f32 ? x_u32 | 0x00400000 : 0xffc00000;
}

DEVICE uint64_t rsqrt_f64(uint64_t x_u64) {
    double const x_f64 = f64_of_bits(x_u64);
    uint64_t const y_u64 = bits_of_f64(__nvvm_rcp_rn_d(__nvvm_sqrt_rn_d(x_f64)));
    if (x_f64 >= 0) return y_u64;
    return x_f64 != x_f64 ? x_u64 | 0x0008000000000000 : 0xfff8000000000000;
}

/* The f32 result rounded once more. The result is normal, zero or infinite, and its sign is x's. */
DEVICE uint16_t rsqrt_f16(uint16_t x_u16) {
    float x_f32;
    uint16_t y_u16;
    __asm__("cvt.f32.f16 %0, %1;" : "=f"(x_f32) : "h"(x_u16));
    float const y_f32 = __nvvm_rcp_rn_f(__nvvm_sqrt_rn_f(x_f32));
    __asm__("cvt.rn.f16.f32 %0, %1;" : "=h"(y_u16) : "f"(y_f32));
    if (x_f32 >= 0) return y_u16;
    return x_f32 != x_f32 ? x_u16 | 0x0200 : 0xfe00;
}

/* No result is a tie, so half of a unit may be added without a look at which neighbour is even;
 * nans are as in f32. */
DEVICE uint16_t rsqrt_bf16(uint16_t x_u16) {
    return (uint16_t)((rsqrt_f32((uint32_t)x_u16 << 16) + 0x8000) >> 16);
}

/* The bits of an item: of its one part, or of two. */
struct item {
    uint64_t re, im;
};

/* The dtypes: how many parts an item has, the bytes and type of each, and 1/√x. The types are
 * numbered as cgo/kernels.h does. */

enum { F16, BF16, F32, F64 };

struct f16 {
    enum { parts = 1, size = 2, type = F16 };
    DEVICE item rsqrt(item x) {
        return {rsqrt_f16((uint16_t)x.re), 0};
    }
};

struct bf16 {
    enum { parts = 1, size = 2, type = BF16 };
    DEVICE item rsqrt(item x) {
        return {rsqrt_bf16((uint16_t)x.re), 0};
    }
};

struct f32 {
    enum { parts = 1, size = 4, type = F32 };
    DEVICE item rsqrt(item x) {
        return {rsqrt_f32((uint32_t)x.re), 0};
    }
};

struct f64 {
    enum { parts = 1, size = 8, type = F64 };
    DEVICE item rsqrt(item x) {
        return {rsqrt_f64(x.re), 0};
    }
};

struct c64 {
    enum { parts = 2, size = 4, type = F32 };
    DEVICE item rsqrt(item x) {
        parts_f32 z = {(i32s){(int32_t)x.re}, (i32s){(int32_t)x.im}};
        rsqrt_f32s(&z);
        return {(uint32_t)z.re[0], (uint32_t)z.im[0]};
    }
};

struct c128 {
    enum { parts = 2, size = 8, type = F64 };
    DEVICE item rsqrt(item x) {
        parts_f64 z = {(i64s){(int64_t)x.re}, (i64s){(int64_t)x.im}};
        rsqrt_f64s(&z);
        return {(uint64_t)z.re[0], (uint64_t)z.im[0]};
    }
};

enum { ITEM = DTYPE::size * DTYPE::parts, ITEMS = sizeof(words) / ITEM };

/* Part i of a vector. */
DEVICE uint64_t part(words x, int i) {
    if (DTYPE::size == 2) return (uint16_t)(x[i / 2] >> 16 * (i % 2));
    if (DTYPE::size == 4) return x[i];
    return x[2 * i] | (uint64_t)x[2 * i + 1] << 32;
}

/* The statement is empty, but takes the words together: clang would load some by themselves. */
DEVICE words loaded(const words *from) {
    words x = *from;
    __asm__("" : "+r"(x[0]), "+r"(x[1]), "+r"(x[2]), "+r"(x[3]));
    return x;
}

DEVICE words rsqrt_vector(words x) {
    words y = {0, 0, 0, 0};
    UNROLL for (int i = 0; i < ITEMS; i++) {
        item const one = DTYPE::rsqrt({part(x, i * DTYPE::parts), DTYPE::parts == 2 ? part(x, i * 2 + 1) : 0});
        UNROLL for (int k = 0; k < DTYPE::parts; k++) {
            int const at = i * DTYPE::parts + k;
            uint64_t const bits = k ? one.im : one.re;
            if (DTYPE::size == 2) y[at / 2] |= (uint32_t)bits << 16 * (at % 2);
            if (DTYPE::size == 4) y[at] = (uint32_t)bits;
            if (DTYPE::size == 8) {
                y[2 * at] = (uint32_t)bits;
                y[2 * at + 1] = (uint32_t)(bits >> 32);
            }
        }
    }
    return y;
}

#define JOIN3(a, b, c) a##b##c
#define NAME(dtype, end) JOIN3(rsqrt_, dtype, end)

/* The bytes of a part, 1 2 4 or 8, as the low end of a word. */
DEVICE uint64_t load(const void *from, int size) {
    switch (size) {
        case 1: return *(const uint8_t *)from;
        case 2: return *(const uint16_t *)from;
        case 4: return *(const uint32_t *)from;
        default: return *(const uint64_t *)from;
    }
}

/* The same, 2 4 or 8 of them. */
DEVICE void store(void *to, uint64_t bits, int size) {
    switch (size) {
        case 2: *(uint16_t *)to = (uint16_t)bits; break;
        case 4: *(uint32_t *)to = (uint32_t)bits; break;
        default: *(uint64_t *)to = bits;
    }
}

/* Contiguous items. A thread takes FLIGHT vectors, a block's width apart; the last block's threads
 * also take the items after the last whole vector, one each. */
KERNEL void NAME(DTYPE, _cuda)(words *dst, const words *src, uint64_t n) {
    uint64_t const vectors = n / ITEMS, first = (uint64_t)BLOCK * (THREADS * FLIGHT) + THREAD;
    words x[FLIGHT];
    if (first + THREADS * (FLIGHT - 1) < vectors) {
        UNROLL for (int i = 0; i < FLIGHT; i++) x[i] = loaded(src + first + THREADS * i);
        if (DTYPE::parts == 2) __asm__ volatile("" ::: "memory"); /* or loads would move past the branches between the stores */
        UNROLL for (int i = 0; i < FLIGHT; i++) dst[first + THREADS * i] = rsqrt_vector(x[i]);
    } else {
        ROLLED for (uint64_t i = first; i < vectors; i += THREADS) dst[i] = rsqrt_vector(loaded(src + i));
    }
    if (ITEMS > 1 && BLOCK == LAST_BLOCK && THREAD < n % ITEMS) {
        uint64_t const i = (vectors * ITEMS + THREAD) * ITEM;
        const char *const from = (const char *)src + i;
        char *const to = (char *)dst + i;
        item const y = DTYPE::rsqrt({load(from, DTYPE::size), DTYPE::parts == 2 ? load(from + DTYPE::size, DTYPE::size) : 0});
        store(to, y.re, DTYPE::size);
        if (DTYPE::parts == 2) store(to + DTYPE::size, y.im, DTYPE::size);
    }
}

/* Any items. */

/* The casts of cgo/cast.h, with their nans. */

DEVICE uint32_t f32_from_f64(uint64_t x) {
    if ((x & INT64_MAX) > 0x7ff0000000000000)
        return (uint32_t)(x >> 32 & 0x80000000) | 0x7fc00000 | (uint32_t)(x >> 29 & 0x3fffff);
    return bits_of_f32((float)f64_of_bits(x));
}

DEVICE uint64_t f64_from_f32(uint32_t x) {
    if ((x & 0x7fffffff) > 0x7f800000)
        return (uint64_t)(x & 0x80000000) << 32 | 0x7ff8000000000000 | (uint64_t)(x & 0x3fffff) << 29;
    return bits_of_f64(f32_of_bits(x));
}

/* To a type other than F64 where DTYPE is of F64. */
DEVICE uint64_t cast_f32(uint32_t x, int type) {
    if (type == F16) return f16_from_f32(f32_of_bits(x));
    if (type == BF16) return bf16_from_f32(f32_of_bits(x));
    if (type == F32 || DTYPE::type == F64) return x;
    return f64_from_f32(x);
}

/* A part of a result to another type. */
DEVICE uint64_t cast_part(uint64_t x, int type) {
    if (type == DTYPE::type) return x;
    __builtin_assume(type != DTYPE::type);
    if (DTYPE::parts == 2) { /* f32 and f64 to each other; they have one nan */
        double const y_f64 = DTYPE::type == F64 ? f64_of_bits(x) : (double)f32_of_bits((uint32_t)x);
        if (y_f64 != y_f64) return DTYPE::type == F64 ? 0x7fc00000 : 0x7ff8000000000000;
        return DTYPE::type == F64 ? bits_of_f32((float)y_f64) : bits_of_f64(y_f64);
    }
    if (DTYPE::type == F16) return cast_f32(bits_of_f32(f16_to_f32((uint16_t)x)), type);
    if (DTYPE::type == BF16) return cast_f32((uint32_t)x << 16, type); /* its nans are quiet */
    if (DTYPE::type == F64) return cast_f32(f32_from_f64(x), type);
    return cast_f32((uint32_t)x, type);
}

/* The part of DTYPE that a source's number is computed as. */
DEVICE uint64_t cast_source(uint64_t x, const plan &p) {
    if (DTYPE::parts == 2 || p.src_kind == FLOAT) return x;
    int const unused = 64 - 8 * (int)p.src_size;
    if (p.src_kind == SIGNED) x = (uint64_t)((int64_t)(x << unused) >> unused);
    if (p.src_kind == BOOLEAN) x = x != 0;
    if (DTYPE::type == F64) return bits_of_f64(p.src_kind == SIGNED ? (double)(int64_t)x : (double)x);
    uint32_t const bits = bits_of_f32(p.src_kind == SIGNED ? (float)(int64_t)x : (float)x);
    if ((bits & 0x7fffffff) > 0x7f800000) __builtin_unreachable();
    return cast_f32(bits, DTYPE::type);
}

DEVICE uint64_t load_part(const char *from, int size, const plan &p) {
    if (p.aligned) return load(from, size);
    uint64_t x = 0;
    int i = 0;
    ROLLED do x |= (uint64_t)*(const uint8_t *)(from + i) << 8 * i;
    while (++i != size);
    return x;
}

DEVICE void store_part(char *to, uint64_t x, int size, const plan &p) {
    if (p.aligned) return store(to, x, size);
    int i = 0;
    ROLLED do to[i] = (char)(x >> 8 * i);
    while (++i != size);
}

DEVICE uint32_t divide(uint32_t i, const dim &by) {
    return (__nvvm_mulhi_ui(i, (uint32_t)by.magic) + i) >> (uint32_t)by.shift;
}

DEVICE uint64_t divide(uint64_t i, const dim &by) {
    return i / by.length;
}

/* A thread takes `flight` items, a block's width apart, so that neighbours in the innermost
 * dimension are neighbouring threads'. */
template <typename index, typename offset, int flight> DEVICE void run(const plan &p) {
    index const first = (index)BLOCK * (THREADS * flight) + THREAD, n = (index)p.n;
    index left[flight];
    offset src[flight], dst[flight];
    UNROLL for (int i = 0; i < flight; i++) {
        left[i] = first + THREADS * i;
        src[i] = dst[i] = 0;
    }
    uint32_t d = 0;
    ROLLED do {
        dim const &along = p.dims[d];
        UNROLL for (int i = 0; i < flight; i++) {
            index const next = divide(left[i], along);
            offset const at = (offset)(left[i] - next * (index)along.length);
            src[i] += at * (offset)along.src;
            dst[i] += at * (offset)along.dst;
            left[i] = next;
        }
    }
    while (++d != (uint32_t)p.ndim);
    item x[flight];
    UNROLL for (int i = 0; i < flight; i++) {
        if (first + THREADS * i >= n) continue;
        const char *const from = (const char *)p.src + src[i];
        int const size = DTYPE::parts == 2 ? DTYPE::size : (int)p.src_size;
        x[i].re = load_part(from, size, p);
        if (DTYPE::parts == 2) x[i].im = load_part(from + size, size, p);
    }
    UNROLL for (int i = 0; i < flight; i++) {
        if (first + THREADS * i >= n) continue;
        item const y = DTYPE::rsqrt({cast_source(x[i].re, p), DTYPE::parts == 2 ? x[i].im : 0});
        char *const to = (char *)p.dst + dst[i];
        int const size = (int)p.dst_size, complex_size = size == 4 ? 4 : 8;
        store_part(to, cast_part(y.re, (int)p.dst_type), DTYPE::parts == 2 ? complex_size : size, p);
        if (DTYPE::parts == 1 && p.dst_parts == 1) continue;
        store_part(to + p.dst_size, DTYPE::parts == 2 ? cast_part(y.im, (int)p.dst_type) : 0, complex_size, p);
    }
}

KERNEL void NAME(DTYPE, _cuda_items)(const plan p) {
    run<uint32_t, int32_t, FLIGHT>(p);
}

KERNEL void NAME(DTYPE, _cuda_wide)(const plan p) {
    run<uint64_t, int64_t, 1>(p);
}
