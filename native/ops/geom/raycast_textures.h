// Solid textures, for raycast.cc only: it switches fused multiply-add off before including this.
// Every function returns how much of colour1 shows, in [0, 1].
#pragma once

#include "native/ops/geom/raycast.h"
#include "native/ops/geom/raycast_shapes.h"

namespace rl::raycast_detail {

// Rounds down. Coordinates are clamped first: converting a value out of int range is undefined.
inline int32_t floor_int(float x) {
  const float bounded = min2(max2(x, -1e6f), 1e6f);
  const int32_t i = static_cast<int32_t>(bounded);
  return static_cast<float>(i) > bounded ? i - 1 : i;
}

inline float fraction(float x) { return clamp01(x - static_cast<float>(floor_int(x))); }

// Integer hash of a lattice cell to [0, 1): multiply-xorshift rounds, full avalanche on the low bits that are used.
inline float cell_value(int32_t x, int32_t y, int32_t z, uint32_t seed) {
  uint32_t h = seed * 0x9e3779b9u + 0x85ebca6bu;
  for (const int32_t v : {x, y, z}) {
    h ^= static_cast<uint32_t>(v) * 0xcc9e2d51u;
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    h ^= h >> 12;
    h *= 0x297a2d39u;
    h ^= h >> 15;
  }
  return static_cast<float>(h >> 8) * (1.0f / 16777216.0f);
}

inline float ease(float t) { return t * t * (3.0f - 2.0f * t); }
inline float lerp(float a, float b, float t) { return a + (b - a) * t; }

inline float value_noise(Vec3 p, uint32_t seed) {
  const int32_t x = floor_int(p.x), y = floor_int(p.y), z = floor_int(p.z);
  const float u = ease(fraction(p.x)), v = ease(fraction(p.y)), w = ease(fraction(p.z));
  float plane[2];
  for (int k = 0; k < 2; ++k) {
    const float a = lerp(cell_value(x, y, z + k, seed), cell_value(x + 1, y, z + k, seed), u);
    const float b = lerp(cell_value(x, y + 1, z + k, seed), cell_value(x + 1, y + 1, z + k, seed), u);
    plane[k] = lerp(a, b, v);
  }
  return lerp(plane[0], plane[1], w);
}

inline bool in_lattice_ball(Vec3 q, float offset) {
  const float x = fraction(q.x + offset) - 0.5f, y = fraction(q.y + offset) - 0.5f, z = fraction(q.z + offset) - 0.5f;
  return x * x + y * y + z * z < 0.33f * 0.33f;
}

inline float texture_mix(const Material& m, Vec3 position) {
  if (m.texture == Texture::kSolid) return 0.0f;
  // Slightly inside the surface, so that a box face never lies exactly on a cell boundary.
  const Vec3 inner = position * 0.998f;
  if (m.texture == Texture::kHalves) {
    const float level = m.axis == 0 ? inner.x : m.axis == 1 ? inner.y : m.axis == 2 ? inner.z
                                                                     : inner.x + inner.y + inner.z;
    return level > m.phase ? 1.0f : 0.0f;
  }
  const float inverse = 1.0f / m.period;
  Vec3 q = inner * inverse;
  if (m.axis == 0) q.x += m.phase;
  else if (m.axis == 1) q.y += m.phase;
  else if (m.axis == 2) q.z += m.phase;
  const float along = m.axis == 0 ? q.x : m.axis == 1 ? q.y : m.axis == 2 ? q.z
                                                    : (q.x + q.y + q.z) * 0.57735027f + m.phase;
  switch (m.texture) {
    case Texture::kChecker:
      return ((floor_int(q.x + 0.5f) + floor_int(q.y + 0.5f) + floor_int(q.z + 0.5f)) & 1) != 0 ? 1.0f : 0.0f;
    case Texture::kStripes: return fraction(along) < 0.5f ? 0.0f : 1.0f;
    case Texture::kDots: return in_lattice_ball(q, 0.5f) || in_lattice_ball(q, 0.0f) ? 1.0f : 0.0f;
    case Texture::kNoise: {
      const float coarse = value_noise(q, m.seed);
      const float middle = value_noise(q * 2.03f, m.seed + 1);
      const float fine = value_noise(q * 4.1f, m.seed + 2);
      const float level = coarse * 0.55f + middle * 0.3f + fine * 0.15f;
      return ease(clamp01((level - 0.42f) * 3.6f));
    }
    case Texture::kBrick: {
      const float rows = 2.0f * along;
      const float across = m.axis == 0 ? q.y + q.z : m.axis == 1 ? q.x + q.z : q.x + q.y;
      const float shift = (floor_int(rows) & 1) != 0 ? 0.5f : 0.0f;
      return fraction(rows) < 0.2f || fraction(across + shift) < 0.1f ? 1.0f : 0.0f;
    }
    case Texture::kWood: {
      const float wobble = value_noise(q * 0.9f, m.seed) * 0.7f;
      const float a = m.axis == 0 ? q.y : q.x, b = m.axis == 2 ? q.y : q.z;
      const float ring = fraction(2.0f * (root(a * a + b * b) + wobble));
      return ease(ring < 0.8f ? ring * 1.25f : (1.0f - ring) * 5.0f);
    }
    case Texture::kTiles: {
      const int32_t x = floor_int(q.x + 0.5f), y = floor_int(q.y + 0.5f), z = floor_int(q.z + 0.5f);
      const float parity = ((x + y + z) & 1) != 0 ? 0.55f : 0.0f;
      return parity + 0.45f * cell_value(x, y, z, m.seed);
    }
    default: return 0.0f;
  }
}

}  // namespace rl::raycast_detail
