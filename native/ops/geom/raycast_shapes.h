// Ray intersections in object space, for raycast.cc only: it switches fused multiply-add off before including this.
// Rays have unit directions. Each function returns true for a front-face hit with kNear < *t < t_max.
#pragma once

#include "native/ops/geom/raycast.h"

namespace rl::raycast_detail {

struct Vec3 {
  float x, y, z;
};

inline Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec3 operator*(Vec3 a, float s) { return {a.x * s, a.y * s, a.z * s}; }
inline float dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline float min2(float a, float b) { return a < b ? a : b; }
inline float max2(float a, float b) { return a > b ? a : b; }
inline float abs1(float a) { return a < 0.0f ? -a : a; }
inline float clamp01(float a) { return min2(max2(a, 0.0f), 1.0f); }
inline float root(float a) { return a > 0.0f ? __builtin_sqrtf(a) : 0.0f; }
inline Vec3 unit(Vec3 a) {
  const float length = root(dot(a, a));
  return length > 0.0f ? a * (1.0f / length) : Vec3{0, 0, 1};
}

constexpr float kNear = 1e-3f;
constexpr float kHuge = 1e30f;

// Entry distance into a sphere about the origin, or kHuge. The closest-approach form keeps float32 accurate far away.
inline float sphere_entry(Vec3 o, Vec3 d, float radius) {
  const float along = dot(o, d);
  const Vec3 closest = o - d * along;
  const float inside = radius * radius - dot(closest, closest);
  return inside > 0.0f ? -along - root(inside) : kHuge;
}

inline bool hit_sphere(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  const float entry = sphere_entry(o, d, size[0]);
  if (!(entry > kNear && entry < t_max)) return false;
  *t = entry;
  *n = unit(o + d * entry);
  return true;
}

// One slab |p| < half of a convex body: narrows [t0, t1], remembers which slab was entered last.
inline void clip_slab(float o, float d, float half, int slab, float* t0, float* t1, int* entered) {
  if (abs1(d) < 1e-12f) {
    if (abs1(o) > half) *t1 = -kHuge;
    return;
  }
  const float inverse = 1.0f / d;
  const float a = (-half - o) * inverse, b = (half - o) * inverse;
  const float near = min2(a, b);
  if (near > *t0) {
    *t0 = near;
    *entered = slab;
  }
  *t1 = min2(*t1, max2(a, b));
}

inline bool hit_box(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  float t0 = -kHuge, t1 = kHuge;
  int entered = -1;
  clip_slab(o.x, d.x, size[0], 0, &t0, &t1, &entered);
  clip_slab(o.y, d.y, size[1], 1, &t0, &t1, &entered);
  clip_slab(o.z, d.z, size[2], 2, &t0, &t1, &entered);
  if (!(t0 < t1 && t0 > kNear && t0 < t_max)) return false;
  *t = t0;
  if (entered == 0) *n = {d.x > 0 ? -1.0f : 1.0f, 0, 0};
  else if (entered == 1) *n = {0, d.y > 0 ? -1.0f : 1.0f, 0};
  else *n = {0, 0, d.z > 0 ? -1.0f : 1.0f};
  return true;
}

// Interval of the ray inside the infinite cylinder about z. False when it stays outside.
inline bool cylinder_interval(Vec3 o, Vec3 d, float radius, float* t0, float* t1) {
  const float a = d.x * d.x + d.y * d.y;
  const float c = o.x * o.x + o.y * o.y - radius * radius;
  if (a < 1e-12f) {
    *t0 = -kHuge;
    *t1 = kHuge;
    return c < 0.0f;
  }
  const float b = o.x * d.x + o.y * d.y;
  const float nearest = b / a;
  const float x = o.x - nearest * d.x, y = o.y - nearest * d.y;
  const float inside = (radius * radius - (x * x + y * y)) / a;
  if (!(inside > 0.0f)) return false;
  const float half = root(inside);
  *t0 = -nearest - half;
  *t1 = -nearest + half;
  return true;
}

inline bool hit_cylinder(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  float t0, t1;
  if (!cylinder_interval(o, d, size[0], &t0, &t1)) return false;
  int entered = 0;
  clip_slab(o.z, d.z, size[1], 2, &t0, &t1, &entered);
  if (!(t0 < t1 && t0 > kNear && t0 < t_max)) return false;
  *t = t0;
  if (entered == 2) *n = {0, 0, d.z > 0 ? -1.0f : 1.0f};
  else *n = unit({o.x + t0 * d.x, o.y + t0 * d.y, 0});
  return true;
}

inline bool hit_cone(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  const float h = size[1];
  const float slope = size[0] / (2.0f * h);  // radius lost per metre of height
  float best = t_max;
  bool found = false;
  if (d.z > 0.0f) {  // the base is seen from below
    const float base = (-h - o.z) / d.z;
    const float x = o.x + base * d.x, y = o.y + base * d.y;
    if (base > kNear && base < best && x * x + y * y < size[0] * size[0]) {
      best = base;
      *n = {0, 0, -1};
      found = true;
    }
  }
  // Solved from the point of the ray nearest to the centre: from the eye, b * b - a * c would cancel.
  const float shift = -dot(o, d);
  const Vec3 p = o + d * shift;
  const float k = slope * slope;
  const float pz = p.z - h;
  const float a = d.x * d.x + d.y * d.y - k * d.z * d.z;
  const float b = p.x * d.x + p.y * d.y - k * pz * d.z;
  const float c = p.x * p.x + p.y * p.y - k * pz * pz;
  const float square = b * b - a * c;
  if (square > 0.0f) {
    // The form without cancellation: rays parallel to the slope make a nearly zero.
    const float q = b > 0.0f ? -b - root(square) : -b + root(square);
    const float first = abs1(a) > 1e-12f ? q / a : kHuge, second = abs1(q) > 1e-12f ? c / q : kHuge;
    for (const float step : {first, second}) {
      const float z = p.z + step * d.z;
      const float candidate = shift + step;
      if (!(candidate > kNear && candidate < best && z > -h && z < h)) continue;
      const Vec3 normal = {p.x + step * d.x, p.y + step * d.y, k * (h - z)};
      if (dot(normal, d) >= 0.0f) continue;
      best = candidate;
      *n = unit(normal);
      found = true;
    }
  }
  *t = best;
  return found;
}

inline bool hit_capsule(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  const float radius = size[0], half = size[1];
  float t0, t1;
  if (!cylinder_interval(o, d, radius, &t0, &t1)) return false;
  const float z = o.z + max2(t0, -1e6f) * d.z;
  if (abs1(z) < half) {
    if (!(t0 > kNear && t0 < t_max)) return false;
    *t = t0;
    *n = unit({o.x + t0 * d.x, o.y + t0 * d.y, 0});
    return true;
  }
  const Vec3 end = {o.x, o.y, z > 0.0f ? o.z - half : o.z + half};
  const float entry = sphere_entry(end, d, radius);
  if (!(entry > kNear && entry < t_max)) return false;
  *t = entry;
  *n = unit(end + d * entry);
  return true;
}

// Sphere tracing on the exact distance to the torus, then Newton steps on the distance along the ray: a quartic
// solver would need cube roots and cosines, which are not reproducible between C libraries.
inline bool hit_torus(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  const float ring = size[0], tube = size[1];
  const float bound = ring + tube;
  const float along = dot(o, d);
  const Vec3 closest = o - d * along;
  const float inside = bound * bound - dot(closest, closest);
  if (!(inside > 0.0f)) return false;
  const float reach = root(inside);
  float at = max2(-along - reach, 0.0f);
  const float end = -along + reach;
  if (o.x * o.x + o.y * o.y + o.z * o.z < 1e-12f) return false;
  for (int step = 0; step < 96 && at < end; ++step) {
    const Vec3 p = o + d * at;
    const float rho = root(p.x * p.x + p.y * p.y);
    const float q = rho - ring;
    const float section = root(q * q + p.z * p.z);
    const float distance = section - tube;
    if (distance < 2e-4f) {
      const float flat = rho > 0.0f ? q / rho : 0.0f;
      const float inverse = section > 0.0f ? 1.0f / section : 0.0f;
      const Vec3 normal = {p.x * flat * inverse, p.y * flat * inverse, p.z * inverse};
      const float approach = dot(normal, d);
      if (approach > -1e-3f) {  // grazing or leaving: step past
        at += 1e-3f;
        continue;
      }
      if (abs1(distance) > 2e-6f && step < 90) {
        at -= max2(distance / approach, -4e-3f);
        continue;
      }
      if (!(at > kNear && at < t_max)) return false;
      *t = at;
      *n = normal;
      return true;
    }
    at += distance;
  }
  return false;
}

inline bool hit_ground(const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  if (!(d.z < 0.0f && o.z > 0.0f)) return false;
  const float at = -o.z / d.z;
  const float x = o.x + at * d.x, y = o.y + at * d.y;
  if (!(at > kNear && at < t_max && x * x + y * y < size[0] * size[0])) return false;
  *t = at;
  *n = {0, 0, 1};
  return true;
}

inline bool hit_shape(SolidShape shape, const float* size, Vec3 o, Vec3 d, float t_max, float* t, Vec3* n) {
  switch (shape) {
    case SolidShape::kSphere: return hit_sphere(size, o, d, t_max, t, n);
    case SolidShape::kBox: return hit_box(size, o, d, t_max, t, n);
    case SolidShape::kCylinder: return hit_cylinder(size, o, d, t_max, t, n);
    case SolidShape::kCone: return hit_cone(size, o, d, t_max, t, n);
    case SolidShape::kTorus: return hit_torus(size, o, d, t_max, t, n);
    case SolidShape::kCapsule: return hit_capsule(size, o, d, t_max, t, n);
    case SolidShape::kGround: return hit_ground(size, o, d, t_max, t, n);
  }
  return false;
}

// Radius of a sphere about the object's origin that holds the shape; kHuge for the ground.
inline float bounding_radius(SolidShape shape, const float* size) {
  switch (shape) {
    case SolidShape::kSphere: return size[0];
    case SolidShape::kBox: return root(size[0] * size[0] + size[1] * size[1] + size[2] * size[2]);
    case SolidShape::kCylinder:
    case SolidShape::kCone: return root(size[0] * size[0] + size[1] * size[1]);
    case SolidShape::kTorus:
    case SolidShape::kCapsule: return size[0] + size[1];
    case SolidShape::kGround: break;
  }
  return kHuge;
}

}  // namespace rl::raycast_detail
