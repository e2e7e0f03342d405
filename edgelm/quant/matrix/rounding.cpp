/* Affine round-to-nearest of mx.quantize on a CPU, a vector of weights at a time.
 *
 * The steps, and so the bits, are those of MLX's own loop (mlx/backend/cpu/quantized.cpp, `quantize`), which takes one weight
 * after the other. A group's smallest and largest weight give scale and bias; codes are a stream of bits, eight codes in as
 * many bytes as a code has bits.
 */
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int LANES = 8;
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef uint64_t Pairs __attribute__((vector_size(4 * LANES)));

struct BFloat16 {
    uint16_t bits;
};

inline Floats load(const float *at) {
    Floats values;
    memcpy(&values, at, sizeof values);
    return values;
}

inline Floats load(const BFloat16 *at) {
    Halves halves;
    memcpy(&halves, at, sizeof halves);
    return (Floats)(__builtin_convertvector(halves, Words) << 16);
}

inline void store(float value, float *at) { *at = value; }

/* To the nearest, ties to even, as MLX's bfloat16 does it. */
inline void store(float value, BFloat16 *at) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    at->bits = std::isnan(value) ? 0x7fc0 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/* Eight codes close together, in as many bytes as one has bits. */
template <int bits> inline uint64_t joined(Ints codes) {
    Pairs pairs = (Pairs)codes;
    pairs = ((pairs & 0xff) | pairs >> (32 - bits)) << Pairs{0, 2 * bits, 4 * bits, 6 * bits};
    return (pairs[0] | pairs[1]) | (pairs[2] | pairs[3]);
}

inline Floats larger(Floats one, Floats other) { return one < other ? other : one; }

inline Floats smaller(Floats one, Floats other) { return other < one ? other : one; }

/* Every lane with every other. */
template <Floats (*chosen)(Floats, Floats)> inline float folded(Floats values) {
    values = chosen(values, __builtin_shuffle(values, Ints{4, 5, 6, 7, 0, 1, 2, 3}));
    values = chosen(values, __builtin_shuffle(values, Ints{2, 3, 0, 1, 6, 7, 4, 5}));
    return chosen(values, __builtin_shuffle(values, Ints{1, 0, 3, 2, 5, 4, 7, 6}))[0];
}

template <int bits, typename T>
void quantize(const T *weights, uint8_t *codes, T *scales, T *biases, int group, int64_t groups) {
    const float most = (1 << bits) - 1, least_scale = 1e-7f;
    /* The sum with 2^23 is rounded to a whole number, which its last bits are. */
    const float whole = 8388608.0f;
    for (int64_t g = 0; g < groups; g++, weights += group) {
        /* A NaN is in no comparison true, here as there. */
        Floats lows = INFINITY - Floats{}, highs = Floats{} - INFINITY;
        for (int j = 0; j < group; j += LANES) {
            const Floats values = load(weights + j);
            highs = larger(highs, values);
            lows = smaller(lows, values);
        }
        const float low = folded<smaller>(lows), high = folded<larger>(highs);
        float scale = (high - low) / most;
        scale = scale < least_scale ? least_scale : scale;
        const bool from_low = std::fabs(low) > std::fabs(high);
        scale = from_low ? scale : -scale;
        const float edge = from_low ? low : high, steps = std::rint(edge / scale);
        float bias = 0;
        if (steps != 0) {
            scale = edge / steps;
            bias = edge;
        }
        for (int j = 0; j < group; j += LANES, codes += bits) {
            Floats at = (load(weights + j) - bias) / scale;
            at = smaller(larger(at, Floats{}), Floats{} + most);
            const uint64_t eight = joined<bits>((Ints)(at + whole) & ((1 << bits) - 1));
            memcpy(codes, &eight, bits);
        }
        store(scale, scales + g);
        store(bias, biases + g);
    }
}

template <typename T>
int dispatch(const void *weights, void *codes, void *scales, void *biases, int bits, int group, int64_t groups) {
#define WIDTH(n)                                                                                                       \
    case n:                                                                                                            \
        quantize<n>((const T *)weights, (uint8_t *)codes, (T *)scales, (T *)biases, group, groups);                    \
        return 1;
    switch (group % LANES ? 0 : bits) {
        WIDTH(2)
        WIDTH(3)
        WIDTH(4)
        WIDTH(5)
        WIDTH(6)
        WIDTH(8)
    }
    return 0;
}

} // namespace

/* Whether there is a routine for these; the processor must be little-endian. */
extern "C" int edgelm_round(const void *weights, void *codes, void *scales, void *biases, int is_half, int bits, int group,
                            int64_t groups) {
    return is_half ? dispatch<BFloat16>(weights, codes, scales, biases, bits, group, groups)
                   : dispatch<float>(weights, codes, scales, biases, bits, group, groups);
}
