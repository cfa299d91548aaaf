// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator.
// A draw is a pure function of (seed, stream, index), so noise is the same on every backend and for every thread count.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define RL_HOST_DEVICE __host__ __device__
#else
#define RL_HOST_DEVICE
#endif

namespace rl {

struct Philox4 {
  uint32_t v[4];
};

RL_HOST_DEVICE inline Philox4 philox4x32(uint64_t counter_lo, uint64_t counter_hi, uint64_t key) {
  uint32_t c0 = static_cast<uint32_t>(counter_lo), c1 = static_cast<uint32_t>(counter_lo >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_hi), c3 = static_cast<uint32_t>(counter_hi >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in (0, 1]: 24 bits, so every value is exact in f32 and the logarithm is finite.
RL_HOST_DEVICE inline float philox_uniform(uint32_t bits) { return (static_cast<float>(bits >> 8) + 1.0f) * 0x1p-24f; }

// The next three use + - * / and sqrt alone, each exactly rounded by IEEE 754, and no fused multiply-add (RL_MUL and RL_ADD
// keep the CUDA compiler from contracting; host code is compiled for baseline x86-64, which has none): same bits everywhere.
#if defined(__CUDACC__)
#define RL_UNROLL _Pragma("unroll")
#else
#define RL_UNROLL _Pragma("GCC unroll 16")
#endif
#if defined(__CUDA_ARCH__)
#define RL_MUL(a, b) __dmul_rn((a), (b))
#define RL_ADD(a, b) __dadd_rn((a), (b))
#else
#define RL_MUL(a, b) ((a) * (b))
#define RL_ADD(a, b) ((a) + (b))
#endif

// Natural logarithm of u in (0, 1]: u = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1)/(m + 1)) as a series.
// Error below 3e-16 of the result.
RL_HOST_DEVICE inline double philox_log(double u) {
  uint64_t bits;
  memcpy(&bits, &u, sizeof bits);
  const int64_t turns = (static_cast<int64_t>(bits) - 0x3FE6A09E667F3BCD) >> 52;  // e: how often m was halved or doubled
  bits -= static_cast<uint64_t>(turns) << 52;
  memcpy(&u, &bits, sizeof u);
  const double exponent = static_cast<double>(turns);
  const double s = RL_ADD(u, -1.0) / RL_ADD(u, 1.0), s2 = RL_MUL(s, s);
  double sum = 1.0 / 21;
  RL_UNROLL
  for (int k = 19; k >= 1; k -= 2) sum = RL_ADD(RL_MUL(sum, s2), 1.0 / k);
  return RL_ADD(RL_MUL(exponent, 0.6931471805599453), RL_MUL(RL_MUL(2.0, s), sum));
}

// Cosine and sine of 2 pi u for u in (0, 1]: quarter turns exactly, then Taylor series on [-pi/4, pi/4].
RL_HOST_DEVICE inline void philox_cos_sin(double u, double* cosine, double* sine) {
  const double quarters = RL_MUL(u, 4.0);
  const int turn = static_cast<int>(RL_ADD(quarters, 0.5));
  const double x = RL_MUL(RL_ADD(quarters, -static_cast<double>(turn)), 1.5707963267948966), x2 = RL_MUL(x, x);
  double c = 0, s = 0;
  RL_UNROLL
  for (int k = 16; k >= 2; k -= 2) {
    c = RL_MUL(RL_ADD(1.0, c), RL_MUL(x2, -1.0 / (k * (k - 1))));
    s = RL_MUL(RL_ADD(1.0, s), RL_MUL(x2, -1.0 / (k * (k + 1))));
  }
  c = RL_ADD(1.0, c);
  s = RL_MUL(RL_ADD(1.0, s), x);
  const double cos_turn[4] = {c, -s, -c, s}, sin_turn[4] = {s, c, -s, -c};
  *cosine = cos_turn[turn & 3];
  *sine = sin_turn[turn & 3];
}

// Four standard normals by Box-Muller from one Philox block, computed in f64 and rounded once.
RL_HOST_DEVICE inline void philox_normal4(uint64_t seed, uint64_t stream, uint64_t block, float out[4]) {
  const Philox4 bits = philox4x32(block, stream, seed);
  for (int pair = 0; pair < 2; ++pair) {
    const double radius = sqrt(RL_MUL(-2.0, philox_log(static_cast<double>(philox_uniform(bits.v[2 * pair])))));
    double cosine, sine;
    philox_cos_sin(static_cast<double>(philox_uniform(bits.v[2 * pair + 1])), &cosine, &sine);
    out[2 * pair] = static_cast<float>(RL_MUL(radius, cosine));
    out[2 * pair + 1] = static_cast<float>(RL_MUL(radius, sine));
  }
}

#undef RL_MUL
#undef RL_UNROLL
#undef RL_ADD

}  // namespace rl
