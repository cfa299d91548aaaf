// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator.
// A draw is a pure function of (seed, stream, index), so noise is the same on every backend and for every thread count.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

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

// Four standard normals by Box-Muller from one Philox block. Host: computed in f64 and rounded, so that the value does
// not depend on the vendor's f32 functions; the CUDA twin (ops/train/randn.cu) does the same.
RL_HOST_DEVICE inline void philox_normal4(uint64_t seed, uint64_t stream, uint64_t block, float out[4]) {
  const Philox4 bits = philox4x32(block, stream, seed);
  for (int pair = 0; pair < 2; ++pair) {
    const double radius = sqrt(-2.0 * log(static_cast<double>(philox_uniform(bits.v[2 * pair]))));
    const double angle = 6.283185307179586 * static_cast<double>(philox_uniform(bits.v[2 * pair + 1]));
    out[2 * pair] = static_cast<float>(radius * cos(angle));
    out[2 * pair + 1] = static_cast<float>(radius * sin(angle));
  }
}

}  // namespace rl
