// Kernels of one 16x16 tile, written once on vector extensions and compiled for each ISA. The including file sets the
// target and defines kLanes (floats per vector) first; a row of the tile is kStrips vectors.

typedef float VF __attribute__((vector_size(kLanes * 4)));
typedef int32_t VI __attribute__((vector_size(kLanes * 4)));
constexpr int kStrips = kTile / kLanes;
constexpr int kRefresh = 32;  // pairs between two looks for finished strips
constexpr float kFinished = 2.0f;

template <class V, class T>
inline V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
inline void store(T* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
// x - 0 is x for every x, so that no addition is left (x + 0 is not: it turns -0 into 0).
inline VF broadcast(float x) { return x - VF{}; }

inline bool any_at_least(VF x, float bound) {
#if defined(RL_BLEND_AVX512)
  return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(bound), _CMP_GE_OQ) != 0;
#elif defined(RL_BLEND_AVX2)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_set1_ps(bound), _CMP_GE_OQ)) != 0;
#else
  const VI at_least = x >= broadcast(bound);
  return (at_least[0] | at_least[1] | at_least[2] | at_least[3]) != 0;
#endif
}

// 2^t for t in [-125, 0], relative error 2.3e-7: a minimax polynomial on [-1/2, 1/2], scaled through the exponent bits.
inline VF exp2_of(VF t) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const VF shifted = t + kMagic;
  const VF f = t - (shifted - kMagic);
  VF p = broadcast(1.3276472e-03f);
  p = p * f + 9.675541e-03f;
  p = p * f + 5.550713e-02f;
  p = p * f + 2.4022120e-01f;
  p = p * f + 6.9314694e-01f;
  p = p * f + 1.0000001f;
  return (VF)((VI)p + ((VI)shifted << 23));
}

// One Gaussian seen from a tile. The exponent -s log2(e) is xx dx^2 + xy dx dy + yy dy^2, dx and dy = Gaussian - pixel.
struct Splat {
  VF dx[kStrips], xx[kStrips], xy[kStrips];  // the last two with their dx
  float yy, dy, opacity;                     // dy of row 0
  float least;                               // no pixel with an exponent below reaches 1/255
  int first, last;                           // rows of the tile within the half height
};

inline Splat splat_of(const TileList& list, const float* row) {
  constexpr float kLog2E = 1.44269504f;
  Splat out;
  VF lanes;
  for (int i = 0; i < kLanes; ++i) lanes[i] = static_cast<float>(i) + 0.5f;
  const float xx = -0.5f * kLog2E * row[2], xy = -kLog2E * row[3];
  out.yy = -0.5f * kLog2E * row[4];
  out.opacity = row[5];
  for (int s = 0; s < kStrips; ++s) {
    out.dx[s] = (row[0] - list.x0 - static_cast<float>(s * kLanes)) - lanes;
    out.xx[s] = xx * out.dx[s] * out.dx[s];
    out.xy[s] = xy * out.dx[s];
  }
  out.dy = row[1] - list.y0 - 0.5f;
  // The bits of a float, read as a number, are a piecewise linear lower bound of its logarithm.
  const float inverse = kMinAlpha / row[5];
  int32_t bits;
  std::memcpy(&bits, &inverse, 4);
  out.least = static_cast<float>(bits) * 0x1p-23f - 127.001f;
  const float low = std::ceil(out.dy - row[11]), high = std::floor(out.dy + row[11]);
  out.first = low > 0.0f ? (low < 16.0f ? static_cast<int>(low) : 16) : 0;
  out.last = high < 15.0f ? (high >= 0.0f ? static_cast<int>(high) : -1) : 15;
  return out;
}

inline VF exponent(const Splat& g, int strip, float dy) {
  return g.xx[strip] + (g.xy[strip] * dy + g.yy * dy * dy);
}

// opacity e^-s before the rules; 0 or nearly so where s < 0 or NaN.
inline VF raw_alpha(VF t, float opacity) {
  const VF lowest = broadcast(-125.0f);
  t = t <= 0.0f ? t : lowest;
  t = t > lowest ? t : lowest;
  return exp2_of(t) * opacity;
}

// Which strips still have an unfinished pixel.
inline bool refresh(const float* limit, bool* alive) {
  bool any = false;
  for (int i = 0; i < kTile * kStrips; ++i) {
    alive[i] = any_at_least(broadcast(1.0f) - load<VF>(limit + i * kLanes), 0.0f);
    any |= alive[i];
  }
  return any;
}

// One step front to back: the weight of the Gaussian, and the new state of the pixels.
inline VF advance(VF t, float opacity, float* transmittance, float* limit, VF& before, VF& after) {
  VF alpha = raw_alpha(t, opacity);
  alpha = alpha < kMaxAlpha ? alpha : broadcast(kMaxAlpha);
  alpha = alpha >= kMinAlpha ? alpha : VF{};
  before = load<VF>(transmittance);
  const VF bound = load<VF>(limit), weight = alpha * before, next = before - weight;
  const VI stop = next < bound;
  after = stop ? before : next;
  store(transmittance, after);
  store(limit, stop ? broadcast(kFinished) : bound);
  return stop ? VF{} : weight;
}

void forward(const TileList& list, ForwardTile& tile) {
  bool alive[kTile * kStrips];
  for (int64_t p = list.begin; p < list.end; ++p) {
    if ((p - list.begin) % kRefresh == 0 && !refresh(tile.limit, alive)) break;
    const float* row = list.projected + int64_t{kProjectedColumns} * list.gaussians[p];
    if (p + 8 < list.end) __builtin_prefetch(list.projected + int64_t{kProjectedColumns} * list.gaussians[p + 8]);
    const Splat g = splat_of(list, row);
    const float red = row[6], green = row[7], blue = row[8], z = row[9];
    const VI place = static_cast<int32_t>(p + 1) - VI{};
    for (int y = g.first; y <= g.last; ++y) {
      const float dy = g.dy - static_cast<float>(y);
      for (int s = 0; s < kStrips; ++s) {
        if (!alive[y * kStrips + s]) continue;
        const VF t = exponent(g, s, dy);
        if (!any_at_least(t, g.least)) continue;
        const int at = y * kTile + s * kLanes;
        VF before, after;
        const VF weight = advance(t, g.opacity, tile.transmittance + at, tile.limit + at, before, after);
        store(tile.colour[0] + at, load<VF>(tile.colour[0] + at) + weight * red);
        store(tile.colour[1] + at, load<VF>(tile.colour[1] + at) + weight * green);
        store(tile.colour[2] + at, load<VF>(tile.colour[2] + at) + weight * blue);
        store(tile.depth + at, load<VF>(tile.depth + at) + weight * z);
        // before - after is the weight where T crosses one half, and the test holds once at most.
        const VF median = load<VF>(tile.median + at);
        store(tile.median + at, (after < 0.5f ? before : VF{}) >= 0.5f ? broadcast(z) : median);
        store(tile.last + at, weight > 0.0f ? place : load<VI>(tile.last + at));
      }
    }
  }
}

// Adds pairs of halves: with groups of S lanes each summing to one value, two vectors of groups become one vector of
// groups of S/2 lanes, those of `a` first.
template <int S, int... I>
inline VF fold(VF a, VF b, std::integer_sequence<int, I...>) {
  constexpr int kHalf = S / 2;
  return __builtin_shufflevector(a, b, (I / kHalf * S + I % kHalf)...) +
         __builtin_shufflevector(a, b, (I / kHalf * S + I % kHalf + kHalf)...);
}

// Lane i of the result: the sum of v[i], for i < Count <= S; v has groups of S lanes.
template <int S, int Count>
inline VF lane_sums(const VF* v) {
  if constexpr (S == 1) {
    return v[0];
  } else {
    constexpr int kFolded = (Count + 1) / 2;
    VF folded[kFolded];
    for (int i = 0; i < kFolded; ++i)
      folded[i] = fold<S>(v[2 * i], 2 * i + 1 < Count ? v[2 * i + 1] : VF{}, std::make_integer_sequence<int, kLanes>{});
    return lane_sums<S / 2, kFolded>(folded);
  }
}

// out[i] = the sum of the lanes of v[i], in an order that depends on kLanes alone.
template <int Count>
inline void store_sums(const VF* v, float* out) {
  constexpr int kFirst = Count < kLanes ? Count : kLanes;
  const VF sums = lane_sums<kLanes, kFirst>(v);
  __builtin_memcpy(out, &sums, kFirst * sizeof(float));
  if constexpr (Count > kFirst) store_sums<Count - kFirst>(v + kFirst, out + kFirst);
}

template <bool kDepth>
void backward_with(const TileList& list, BackwardTile& tile, const int32_t* slots, float* moments) {
  int32_t strip_last[kTile * kStrips], tile_last = static_cast<int32_t>(list.begin);
  for (int i = 0; i < kTile * kStrips; ++i) {
    strip_last[i] = *std::max_element(tile.last + i * kLanes, tile.last + (i + 1) * kLanes);
    tile_last = std::max(tile_last, strip_last[i]);
  }
  for (int64_t p = tile_last; p < list.end; ++p)
    std::memset(moments + int64_t{kMoments} * slots[p], 0, kMoments * sizeof(float));
  for (int64_t p = int64_t{tile_last} - 1; p >= list.begin; --p) {
    const float* row = list.projected + int64_t{kProjectedColumns} * list.gaussians[p];
    if (p >= list.begin + 8) __builtin_prefetch(list.projected + int64_t{kProjectedColumns} * list.gaussians[p - 8]);
    const Splat g = splat_of(list, row);
    const float red = row[6], green = row[7], blue = row[8], z = row[9];
    VF sums[kMoments] = {};
    for (int y = g.first; y <= g.last; ++y) {
      const float dy = g.dy - static_cast<float>(y);
      for (int s = 0; s < kStrips; ++s) {
        if (strip_last[y * kStrips + s] <= p) continue;
        const VF t = exponent(g, s, dy);
        if (!any_at_least(t, g.least)) continue;
        const int at = y * kTile + s * kLanes;
        const VF raw = raw_alpha(t, g.opacity);
        VF alpha = raw < kMaxAlpha ? raw : broadcast(kMaxAlpha);
        alpha = alpha >= kMinAlpha ? alpha : VF{};
        alpha = load<VI>(tile.last + at) > static_cast<int32_t>(p) ? alpha : VF{};
        const VF transmittance = load<VF>(tile.transmittance + at) / (1.0f - alpha);
        store(tile.transmittance + at, transmittance);
        const VF weight = alpha * transmittance, behind = load<VF>(tile.behind + at);
        const VF g_red = load<VF>(tile.gradient[0] + at), g_green = load<VF>(tile.gradient[1] + at);
        const VF g_blue = load<VF>(tile.gradient[2] + at);
        VF value = g_red * red + g_green * green + g_blue * blue;
        sums[0] += weight * g_red;
        sums[1] += weight * g_green;
        sums[2] += weight * g_blue;
        if constexpr (kDepth) {
          const VF g_depth = load<VF>(tile.gradient[3] + at);
          value += g_depth * z;
          sums[3] += weight * g_depth;
        }
        const VF step = value - behind;
        store(tile.behind + at, behind + alpha * step);
        // a clamped alpha does not move with its Gaussian
        const VF q = raw > kMaxAlpha ? VF{} : weight * step, qx = q * g.dx[s], qy = q * dy;
        sums[4] += q;
        sums[5] += qx;
        sums[6] += qx * g.dx[s];
        sums[7] += qy;
        sums[8] += qx * dy;
        sums[9] += qy * dy;
      }
    }
    store_sums<kMoments>(sums, moments + int64_t{kMoments} * slots[p]);
  }
}

void backward(const TileList& list, BackwardTile& tile, bool depth, const int32_t* slots, float* moments) {
  depth ? backward_with<true>(list, tile, slots, moments) : backward_with<false>(list, tile, slots, moments);
}

void lift(const TileList& list, LiftTile& tile, const int32_t* slots, float* sums) {
  bool alive[kTile * kStrips];
  bool open = true;
  for (int64_t p = list.begin; p < list.end; ++p) {
    if ((p - list.begin) % kRefresh == 0) open = open && refresh(tile.limit, alive);
    VF total[2] = {};
    if (open) {
      const float* row = list.projected + int64_t{kProjectedColumns} * list.gaussians[p];
      const Splat g = splat_of(list, row);
      const VF z = broadcast(row[9]);
      for (int y = g.first; y <= g.last; ++y) {
        const float dy = g.dy - static_cast<float>(y);
        for (int s = 0; s < kStrips; ++s) {
          if (!alive[y * kStrips + s]) continue;
          const VF t = exponent(g, s, dy);
          if (!any_at_least(t, g.least)) continue;
          const int at = y * kTile + s * kLanes;
          VF before, after;
          VF weight = advance(t, g.opacity, tile.transmittance + at, tile.limit + at, before, after);
          weight = z > load<VF>(tile.near + at) ? weight : VF{};
          weight = z < load<VF>(tile.far + at) ? weight : VF{};
          total[0] += weight * load<VF>(tile.mask + at);
          total[1] += weight;
        }
      }
    }
    store_sums<2>(total, sums + int64_t{2} * slots[p]);
  }
}

constexpr BlendKernels kKernels{forward, backward, lift};
