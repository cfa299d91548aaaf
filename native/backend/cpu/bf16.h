// bfloat16: the upper half of a float32. Conversions round to nearest, ties to even; NaN stays NaN.
#pragma once

#include <cstdint>
#include <cstring>

namespace rl::cpu {

struct bf16 {
  uint16_t bits;
};

inline float to_float(bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

inline bf16 to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  // Rounding could carry a NaN's payload away into infinity: keep the upper bits and set the quiet bit.
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

inline float round_to_bf16(float value) { return to_float(to_bf16(value)); }

// Bulk conversion of `count` contiguous elements, with the widest vectors of best_isa(), on the calling thread.
void to_float(const bf16* in, float* out, int64_t count);
void to_bf16(const float* in, bf16* out, int64_t count);

}  // namespace rl::cpu
