// Inner kernels of the convolution, written once on vector extensions and compiled for each ISA. The including file
// sets
// the target and defines kLanes (floats per vector) and kRows (rows of a register tile) first.

typedef float VF __attribute__((vector_size(kLanes * 4)));
constexpr int kVectors = 3;
constexpr int kWeightColumns = kLanes == 16 ? 6 : kLanes / 4;  // with 4 rows: what the registers hold

inline VF load(const float* p) {
  VF v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
// x - 0 is x for every x, so that no addition is left (x + 0 is not: it turns -0 into 0).
inline VF splat(float x) { return x - VF{}; }
inline void store(float* p, VF v) { __builtin_memcpy(p, &v, sizeof v); }

template <int M, int V>
void tile_of(int64_t k, const float* a, const int64_t* offsets, const float* b, const float* init, float* out,
             int64_t out_stride) {
  VF sum[M][V];
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < V; ++j) sum[i][j] = splat(init[i]);
  for (int64_t p = 0; p < k; ++p, a += kRows) {
    const float* row = b + offsets[p];
    VF right[V];
    for (int j = 0; j < V; ++j) right[j] = load(row + j * kLanes);
    for (int i = 0; i < M; ++i) {
      const VF left = splat(a[i]);
      for (int j = 0; j < V; ++j) sum[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < V; ++j) store(out + i * out_stride + j * kLanes, sum[i][j]);
}

template <int M>
void tile_rows(int vectors, int64_t k, const float* a, const int64_t* offsets, const float* b, const float* init,
               float* out, int64_t out_stride) {
  if (vectors == 3) return tile_of<M, 3>(k, a, offsets, b, init, out, out_stride);
  if (vectors == 2) return tile_of<M, 2>(k, a, offsets, b, init, out, out_stride);
  tile_of<M, 1>(k, a, offsets, b, init, out, out_stride);
}

void tile(int rows, int vectors, int64_t k, const float* a, const int64_t* offsets, const float* b, const float* init,
          float* out, int64_t out_stride) {
  if (rows > 4) return tile_rows<kRows>(vectors, k, a, offsets, b, init, out, out_stride);
  if (rows > 2) return tile_rows<4>(vectors, k, a, offsets, b, init, out, out_stride);
  tile_rows<2>(vectors, k, a, offsets, b, init, out, out_stride);
}

// Adds pairs of halves: with groups of S lanes each summing to one value, two vectors of groups become one vector of
// groups of S/2 lanes, those of `a` first.
template <int S, int... I>
inline VF fold(VF a, VF b, std::integer_sequence<int, I...>) {
  constexpr int kHalf = S / 2;
  return __builtin_shufflevector(a, b, (I / kHalf * S + I % kHalf)...) +
         __builtin_shufflevector(a, b, (I / kHalf * S + I % kHalf + kHalf)...);
}

// The sums over the lanes of kLanes vectors, in order, as one vector.
template <int S>
inline VF lane_sums(VF* v) {
  if constexpr (S == 1) {
    return v[0];
  } else {
    for (int i = 0; i < S / 2; ++i) v[i] = fold<S>(v[2 * i], v[2 * i + 1], std::make_integer_sequence<int, kLanes>{});
    return lane_sums<S / 2>(v);
  }
}

void weight_tile(int rows, int columns, int64_t n, const float* dy, int64_t dy_stride, const float* x,
                 const int64_t* offsets, float* out, int64_t out_stride) {
  constexpr int kM = 4, kN = kWeightColumns, kSums = (kM * kN + kLanes - 1) / kLanes * kLanes;
  // Missing rows and columns repeat the last one; their sums are dropped.
  const float* left[kM];
  const float* right[kN];
  for (int i = 0; i < kM; ++i) left[i] = dy + (i < rows ? i : rows - 1) * dy_stride;
  for (int j = 0; j < kN; ++j) right[j] = x + offsets[j < columns ? j : columns - 1];
  VF sum[kM][kN];
  for (int i = 0; i < kM; ++i)
    for (int j = 0; j < kN; ++j) sum[i][j] = VF{};
  for (int64_t p = 0; p < n; p += kLanes) {
    VF b[kN];
    for (int j = 0; j < kN; ++j) b[j] = load(right[j] + p);
    for (int i = 0; i < kM; ++i) {
      const VF a = load(left[i] + p);
      for (int j = 0; j < kN; ++j) sum[i][j] += a * b[j];
    }
  }
  VF all[kSums];
  for (int i = 0; i < kSums; ++i) all[i] = i < kM * kN ? sum[i / kN][i % kN] : VF{};
  float sums[kSums];
  for (int i = 0; i < kSums; i += kLanes) store(sums + i, lane_sums<kLanes>(all + i));
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) out[i * out_stride + j] += sums[i * kN + j];
}

const ConvKernels kKernels{kLanes, kRows, kVectors, 4, kWeightColumns, tile, weight_tile};
