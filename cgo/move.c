#include "move.h"

#include "kernels.h"

#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* The tiers' functions have the same source, from which the compiler makes vectors of what the attribute allows. */
#define TARGET_scalar
#define TARGET_avx2 __attribute__((target("avx2")))
#define TARGET_avx512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

#define INLINE static inline __attribute__((always_inline))

enum {
    LARGEST = 16, /* bytes of an item */
    LINE = 64,    /* bytes of a cache line */
    AHEAD = 64,   /* lines that the second cache is asked for in advance, where the processor does not see which */
};

typedef uint8_t u8x64 __attribute__((vector_size(64)));
typedef uint8_t u8x32 __attribute__((vector_size(32)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

/* Rows of at least sizeof(type) bytes by loads and stores of so many, the last of which overlaps the one before. Rows that lie
 * apart are asked for in advance. */
#define COPY_ROWS(type)                                                                                                        \
    for (int64_t r = 0; r < rows; r++) {                                                                                       \
        char *restrict const out = to + r * to_row;                                                                            \
        const char *restrict const in = from + r * from_row;                                                                   \
        int64_t const end = bytes - (int64_t)sizeof(type);                                                                     \
        type x;                                                                                                                \
        if (from_row != bytes) {                                                                                               \
            for (int64_t i = 0; i < bytes; i += LINE) __builtin_prefetch(in + ahead * from_row + i, 0, 2);                     \
        }                                                                                                                      \
        for (int64_t i = 0; i < end; i += (int64_t)sizeof x) {                                                                 \
            memcpy(&x, in + i, sizeof x);                                                                                      \
            memcpy(out + i, &x, sizeof x);                                                                                     \
        }                                                                                                                      \
        memcpy(&x, in + end, sizeof x);                                                                                        \
        memcpy(out + end, &x, sizeof x);                                                                                       \
    }

INLINE void copy_rows(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_row, int64_t rows,
                      int64_t bytes, int64_t vector) {
    int64_t const ahead = AHEAD * LINE / (bytes + LINE) + 1;
    if (vector >= 64 && bytes >= 64) {
        COPY_ROWS(u8x64)
    } else if (vector >= 32 && bytes >= 32) {
        COPY_ROWS(u8x32)
    } else if (bytes >= 16) {
        COPY_ROWS(u8x16)
    } else if (bytes >= 8) {
        COPY_ROWS(uint64_t)
    } else if (bytes >= 4) {
        COPY_ROWS(uint32_t)
    } else if (bytes >= 2) {
        COPY_ROWS(uint16_t)
    } else {
        COPY_ROWS(uint8_t)
    }
}

/* Rows of one item of 16 bytes each, by stores as wide as vectors are, of which the last overlaps the one before: the compiler would
 * store item by item. */
#define REPEAT_ROWS(type)                                                                                                      \
    for (int64_t r = 0; r < rows; r++) {                                                                                       \
        char *const out = to + r * to_row;                                                                                     \
        int64_t const end = k * LARGEST - (int64_t)sizeof(type);                                                               \
        type x;                                                                                                                \
        for (size_t i = 0; i < sizeof x; i += LARGEST) memcpy((char *)&x + i, from + r * from_row, LARGEST);                   \
        for (int64_t i = 0; i < end; i += (int64_t)sizeof x) memcpy(out + i, &x, sizeof x);                                    \
        memcpy(out + end, &x, sizeof x);                                                                                       \
    }

INLINE void repeat_rows(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_row, int64_t rows, int64_t k,
                        int64_t vector) {
    if (vector >= 64 && k >= 4) {
        REPEAT_ROWS(u8x64)
    } else if (vector >= 32 && k >= 2) {
        REPEAT_ROWS(u8x32)
    } else {
        REPEAT_ROWS(u8x16)
    }
}

/* The constant sizes and strides below let the compiler make each memcpy one load and store, or shuffles of vectors. */
INLINE void strided_rows(char *restrict to, int64_t to_row, int64_t to_item, const char *restrict from, int64_t from_row,
                         int64_t from_item, int64_t rows, int64_t k, size_t size) {
    for (int64_t r = 0; r < rows; r++) {
        char *restrict const out = to + r * to_row;
        const char *restrict const in = from + r * from_row;
#pragma GCC unroll 8
        for (int64_t i = 0; i < k; i++) memcpy(out + i * to_item, in + i * from_item, size);
    }
}

/* Every item from a line of its own: not unrolled, the processor has more of them under way. */
INLINE void far_rows(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_row, int64_t from_item,
                     int64_t rows, int64_t k, size_t size) {
    for (int64_t r = 0; r < rows; r++) {
        char *restrict const out = to + r * to_row;
        const char *restrict const in = from + r * from_row;
#pragma GCC unroll 1
        for (int64_t i = 0; i < k; i++) memcpy(out + i * (int64_t)size, in + i * from_item, size);
    }
}

INLINE void sized_rows(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item,
                       int64_t rows, int64_t k, int64_t size, int64_t vector) {
    size_t const bytes = (size_t)size;
    if (to_item == size) {
        if (from_item == 0 && size == LARGEST) {
            repeat_rows(to, to_row, from, from_row, rows, k, vector);
        } else if (from_item == 0) {
            strided_rows(to, to_row, size, from, from_row, 0, rows, k, bytes);
        } else if (from_item == -size) {
            strided_rows(to, to_row, size, from, from_row, -size, rows, k, bytes);
        } else if (from_item == 2 * size) {
            strided_rows(to, to_row, size, from, from_row, 2 * size, rows, k, bytes);
        } else if (from_item == 3 * size) {
            strided_rows(to, to_row, size, from, from_row, 3 * size, rows, k, bytes);
        } else if (from_item >= LINE || from_item <= -LINE) {
            far_rows(to, to_row, from, from_row, from_item, rows, k, bytes);
        } else {
            strided_rows(to, to_row, size, from, from_row, from_item, rows, k, bytes);
        }
    } else if (from_item == size) {
        strided_rows(to, to_row, to_item, from, from_row, size, rows, k, bytes);
    } else {
        strided_rows(to, to_row, to_item, from, from_row, from_item, rows, k, bytes);
    }
}

INLINE void move_rows(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item,
                      int64_t rows, int64_t k, int64_t size, int64_t vector) {
    if (to_item == size && from_item == size) {
        copy_rows(to, to_row, from, from_row, rows, k * size, vector);
        return;
    }
    switch (size) {
        case 1: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 1, vector); break;
        case 2: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 2, vector); break;
        case 4: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 4, vector); break;
        case 8: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 8, vector); break;
        default: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, LARGEST, vector);
    }
}

/* Turns a few rows of a few columns. The vectors' lanes of 16 bytes are loaded from columns a lane's items apart, so that all shuffles
 * stay within lanes. */
typedef void square(char *to, int64_t to_row, const char *from, int64_t from_column);

/* The numbered items of two vectors: gcc before 12 has a builtin of its own for it. */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (__typeof__(a)){__VA_ARGS__})
#endif

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

INLINE void square_u32x4(char *to, int64_t to_row, const char *from, int64_t from_column) {
    u32x4 a, b, c, d;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + from_column, sizeof b);
    memcpy(&c, from + 2 * from_column, sizeof c);
    memcpy(&d, from + 3 * from_column, sizeof d);
    u32x4 const ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
    u32x4 const cd_low = SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
    a = SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
    b = SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
    c = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
    d = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
    memcpy(to, &a, sizeof a);
    memcpy(to + to_row, &b, sizeof b);
    memcpy(to + 2 * to_row, &c, sizeof c);
    memcpy(to + 3 * to_row, &d, sizeof d);
}

INLINE void square_u64x2(char *to, int64_t to_row, const char *from, int64_t from_column) {
    u64x2 a, b;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + from_column, sizeof b);
    u64x2 const low = SHUFFLE(a, b, 0, 2), high = SHUFFLE(a, b, 1, 3);
    memcpy(to, &low, sizeof low);
    memcpy(to + to_row, &high, sizeof high);
}

/* By squares of wide_rows and wide_columns, then of a lane's items both ways, and the rest one by one. */
INLINE void transposed(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows, int64_t columns,
                       int64_t size, square *wide, int64_t wide_rows, int64_t wide_columns, square *narrow) {
    int64_t const side = 16 / size, whole_rows = rows - rows % side, whole_columns = columns - columns % side;
    for (int64_t c = 0, cs; c < whole_columns; c += cs) {
        int64_t r = 0;
        cs = side;
        if (c + wide_columns <= columns) {
            cs = wide_columns;
            for (; r + wide_rows <= rows; r += wide_rows) {
                wide(to + r * to_row + c * size, to_row, from + c * from_column + r * size, from_column);
            }
        }
        for (; r < whole_rows; r += side) {
            for (int64_t i = c; i < c + cs; i += side) {
                narrow(to + r * to_row + i * size, to_row, from + i * from_column + r * size, from_column);
            }
        }
    }
    strided_rows(to + whole_columns * size, to_row, size, from + whole_columns * from_column, size, from_column, whole_rows,
                 columns - whole_columns, (size_t)size);
    strided_rows(to + whole_rows * to_row, to_row, size, from + whole_rows * size, size, from_column, rows - whole_rows,
                 columns, (size_t)size);
}

#ifdef __x86_64__
/* Columns 0 and 4, or 0 and 2: a lane apart. */
TARGET_avx2 INLINE __m256 lanes_2(const char *from, int64_t apart) {
    __m256 const first = _mm256_castps128_ps256(_mm_loadu_ps((const float *)from));
    return _mm256_insertf128_ps(first, _mm_loadu_ps((const float *)(from + apart)), 1);
}

TARGET_avx512 INLINE __m512 lanes_4(const char *from, int64_t apart) {
    __m256 const low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float *)from)),
                                            _mm_loadu_ps((const float *)(from + apart)), 1);
    __m256 const high = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float *)(from + 2 * apart))),
                                             _mm_loadu_ps((const float *)(from + 3 * apart)), 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

TARGET_avx2 INLINE void square_u32x8(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m256 const a = lanes_2(from, 4 * from_column), b = lanes_2(from + from_column, 4 * from_column);
    __m256 const c = lanes_2(from + 2 * from_column, 4 * from_column), d = lanes_2(from + 3 * from_column, 4 * from_column);
    __m256d const ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    __m256d const cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    _mm256_storeu_pd((double *)to, _mm256_unpacklo_pd(ab_low, cd_low));
    _mm256_storeu_pd((double *)(to + to_row), _mm256_unpackhi_pd(ab_low, cd_low));
    _mm256_storeu_pd((double *)(to + 2 * to_row), _mm256_unpacklo_pd(ab_high, cd_high));
    _mm256_storeu_pd((double *)(to + 3 * to_row), _mm256_unpackhi_pd(ab_high, cd_high));
}

TARGET_avx2 INLINE void square_u64x4(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m256d const a = _mm256_castps_pd(lanes_2(from, 2 * from_column));
    __m256d const b = _mm256_castps_pd(lanes_2(from + from_column, 2 * from_column));
    _mm256_storeu_pd((double *)to, _mm256_unpacklo_pd(a, b));
    _mm256_storeu_pd((double *)(to + to_row), _mm256_unpackhi_pd(a, b));
}

TARGET_avx512 INLINE __m512 unpack_low(__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

TARGET_avx512 INLINE __m512 unpack_high(__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* 16 rows of 16 columns, every column's line loaded at once: of 16 lines that are a power of two apart the first cache holds 8. */
TARGET_avx512 INLINE void square_u32x16(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_ps(from + i * from_column);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = unpack_low(b[i], b[i + 2]);
        a[i + 1] = unpack_high(b[i], b[i + 2]);
        a[i + 2] = unpack_low(b[i + 1], b[i + 3]);
        a[i + 3] = unpack_high(b[i + 1], b[i + 3]);
    }
    /* a[4·i + j], lane k: row 4·k + j, columns 4·i on. */
    for (int j = 0; j < 4; j++) {
        for (int half = 0; half < 2; half++) {
            b[8 * half + j] = _mm512_shuffle_f32x4(a[8 * half + j], a[8 * half + 4 + j], 0x88);
            b[8 * half + 4 + j] = _mm512_shuffle_f32x4(a[8 * half + j], a[8 * half + 4 + j], 0xdd);
        }
        _mm512_storeu_ps(to + j * to_row, _mm512_shuffle_f32x4(b[j], b[8 + j], 0x88));
        _mm512_storeu_ps(to + (4 + j) * to_row, _mm512_shuffle_f32x4(b[4 + j], b[12 + j], 0x88));
        _mm512_storeu_ps(to + (8 + j) * to_row, _mm512_shuffle_f32x4(b[j], b[8 + j], 0xdd));
        _mm512_storeu_ps(to + (12 + j) * to_row, _mm512_shuffle_f32x4(b[4 + j], b[12 + j], 0xdd));
    }
}

TARGET_avx512 INLINE void square_u64x8(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m512d const a = _mm512_castps_pd(lanes_4(from, 2 * from_column));
    __m512d const b = _mm512_castps_pd(lanes_4(from + from_column, 2 * from_column));
    _mm512_storeu_pd(to, _mm512_unpacklo_pd(a, b));
    _mm512_storeu_pd(to + to_row, _mm512_unpackhi_pd(a, b));
}
#endif

#define MOVER(tier, width, wide_u32, rows_u32, wide_u64)                                                                       \
    TARGET_##tier static void rows_##tier(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row,       \
                                          int64_t from_item, int64_t rows, int64_t k, int64_t size) {                          \
        move_rows(to, to_row, to_item, from, from_row, from_item, rows, k, size, width);                                       \
    }                                                                                                                          \
    TARGET_##tier static void transposed_##tier(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows, \
                                                int64_t columns, int64_t size) {                                               \
        if (size == 4) {                                                                                                       \
            transposed(to, to_row, from, from_column, rows, columns, 4, wide_u32, rows_u32, width / 4, square_u32x4);          \
        } else if (size == 8) {                                                                                                \
            transposed(to, to_row, from, from_column, rows, columns, 8, wide_u64, 2, width / 8, square_u64x2);                 \
        } else {                                                                                                               \
            move_rows(to, size, to_row, from, from_column, size, columns, rows, size, width);                                  \
        }                                                                                                                      \
    }

MOVER(scalar, 16, square_u32x4, 4, square_u64x2)
#ifdef __x86_64__
MOVER(avx2, 32, square_u32x8, 4, square_u64x4)
MOVER(avx512, 64, square_u32x16, 16, square_u64x8)

/* Items that follow each other, to every second place, half a line of them at most: by one masked store, which leaves the places between
 * alone. It takes two cycles, where each item's own store takes one. */
TARGET_avx512 INLINE void spread_line(char *to, const char *from, int64_t items, int64_t size) {
    uint32_t const all = UINT32_MAX;
    if (size == 2) {
        __m256i const x_u16x16 = _mm256_maskz_loadu_epi16((__mmask16)(all >> (32 - items)), from);
        _mm512_mask_storeu_epi16(to, 0x55555555 & all >> (32 - 2 * items), _mm512_cvtepu16_epi32(x_u16x16));
    } else {
        __m512i const twice_u32x16 = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        __m256i const x_u32x8 = _mm256_maskz_loadu_epi32((__mmask8)(all >> (32 - items)), from);
        __m512i const y_u32x16 = _mm512_permutexvar_epi32(twice_u32x16, _mm512_castsi256_si512(x_u32x8));
        _mm512_mask_storeu_epi32(to, (__mmask16)(0x5555 & all >> (32 - 2 * items)), y_u32x16);
    }
}

/* The first store of a row ends with a line, so that the next take whole ones if items are aligned. */
TARGET_avx512 INLINE void spread_rows(char *to, int64_t to_row, const char *from, int64_t from_row, int64_t rows, int64_t k,
                                      int64_t size) {
    int64_t const line = LINE / 2 / size;
    for (int64_t r = 0; r < rows; r++, to += to_row, from += from_row) {
        int64_t const head = line - (int64_t)((uintptr_t)to % LINE) / (2 * size);
        int64_t i = head < k ? head : k;
        spread_line(to, from, i, size);
        for (; i + line <= k; i += line) spread_line(to + 2 * size * i, from + size * i, line, size);
        if (i < k) spread_line(to + 2 * size * i, from + size * i, k - i, size);
    }
}

TARGET_avx512 static void rows_or_spread(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row,
                                         int64_t from_item, int64_t rows, int64_t k, int64_t size) {
    if (size == 2 && from_item == 2 && to_item == 4) {
        spread_rows(to, to_row, from, from_row, rows, k, 2);
    } else if (size == 4 && from_item == 4 && to_item == 8) {
        spread_rows(to, to_row, from, from_row, rows, k, 4);
    } else {
        rows_avx512(to, to_row, to_item, from, from_row, from_item, rows, k, size);
    }
}
#endif

const gorsqrt_mover gorsqrt_movers[GORSQRT_TIERS] = {
    [GORSQRT_SCALAR] = {rows_scalar, transposed_scalar},
#ifdef __x86_64__
    [GORSQRT_AVX2] = {rows_avx2, transposed_avx2},
    [GORSQRT_AVX512] = {rows_or_spread, transposed_avx512},
    [GORSQRT_AVX512VBMI] = {rows_or_spread, transposed_avx512},
#endif
#ifdef __aarch64__
    [GORSQRT_NEON] = {rows_scalar, transposed_scalar}, /* vectors of it are the compiler's default there */
#endif
};
