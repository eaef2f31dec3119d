/* One call of a neon kernel on ordinary numbers; neon.py counts its instructions. Arguments: the
 * dtype's number, and the number of items. */
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 12 };

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    static const uint16_t f16 = 0x4200, bf16 = 0x4040;
    static const float f32 = 3, c64[2] = {3, 3};
    static const double f64 = 3, c128[2] = {3, 3};
    static const void *const three[GORSQRT_COMPUTED] = {&f16, &bf16, &f32, &f64, c64, c128};
    static double src[2 * MOST], dst[2 * MOST];
    int const dtype = atoi(argv[1]), n = atoi(argv[2]);
    if (dtype < 0 || dtype >= GORSQRT_COMPUTED || n < 0 || n > MOST) return 2;
    size_t const size = (size_t)gorsqrt_item_size[dtype];
    for (int i = 0; i < MOST; i++) memcpy((char *)src + (size_t)i * size, three[dtype], size);
    gorsqrt_tiers[0]->of[dtype].plain(dst, src, (size_t)n); /* the best on aarch64: neon */
    return 0;
}
