#include "native/backend/cuda/gemm.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>

#include "native/backend/cuda/cublaslt.h"
#include "native/backend/cuda/cuda_device.h"
#include "native/backend/cuda/gemm_epilogue.h"
#include "native/core/error.h"

namespace rl {

namespace {

using cpu::Activation;
using cpu::Compute;
using cpu::ElementType;
using cpu::GemmArgs;
using cpu::Matrix;

constexpr int64_t kMaxBatch = 65535;   // items of one library call
constexpr size_t kMaxPlans = 4096;
// Split sums are added up in f32, in a fixed order.
constexpr uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

cudaDataType_t cuda_type(ElementType type) { return type == ElementType::f32 ? CUDA_R_32F : CUDA_R_16BF; }
size_t element_bytes(ElementType type) { return type == ElementType::f32 ? 4 : 2; }

uint32_t alignment(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return address == 0 ? 256 : static_cast<uint32_t>(std::min<uintptr_t>(256, address & (~address + 1)));
}

// Everything that a plan depends on.
using PlanKey = std::array<int64_t, 14>;

struct PlanKeyHash {
  size_t operator()(const PlanKey& key) const {
    uint64_t hash = 0xCBF29CE484222325ull;
    for (int64_t value : key) hash = (hash ^ static_cast<uint64_t>(value)) * 0x100000001B3ull;
    return hash ^ (hash >> 32);
  }
};

// The library's objects, freed when they go out of scope.
template <class T>
class Handle {
 public:
  using Free = cublasStatus_t (*)(T);
  explicit Handle(Free free) : free_(free) {}
  ~Handle() {
    if (value != nullptr) (void)free_(value);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  T value = nullptr;

 private:
  Free free_;
};

struct Plan {
  explicit Plan(const CublasLt& lt) : operation(lt.desc_destroy), a(lt.layout_destroy), b(lt.layout_destroy),
      c(lt.layout_destroy) {}
  Handle<cublasLtMatmulDesc_t> operation;
  Handle<cublasLtMatrixLayout_t> a, b, c;  // column-major: the row-major operands swapped
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace = 0;
  bool available = false;  // whether the library can do it
};

struct GemmCache final : CudaDevice::Cache {
  GemmCache() { check_cublas(cublaslt().create(&handle), "no handle can be made"); }
  ~GemmCache() override {
    plans.clear();
    (void)cublaslt().destroy(handle);
  }
  cublasLtHandle_t handle = nullptr;
  std::unordered_map<PlanKey, std::unique_ptr<Plan>, PlanKeyHash> plans;
};

GemmCache& cache_of(CudaDevice& device) {
  if (device.gemm_cache == nullptr) device.gemm_cache = std::make_unique<GemmCache>();
  return static_cast<GemmCache&>(*device.gemm_cache);
}

template <class T>
void set(const CublasLt& lt, cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, T value) {
  check_cublas(lt.desc_set(operation, attribute, &value, sizeof value), "operation attribute");
}

// A row-major [rows, columns] matrix with rows `stride` apart is the column-major [columns, rows] one.
void make_layout(const CublasLt& lt, cublasLtMatrixLayout_t& layout, ElementType type, int64_t rows, int64_t columns,
                 int64_t stride, int64_t batch, int64_t batch_stride) {
  check_cublas(lt.layout_create(&layout, cuda_type(type), static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                                stride), "layout");
  const int32_t count = static_cast<int32_t>(batch);
  check_cublas(lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), "batch count");
  check_cublas(lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof batch_stride),
               "batch stride");
}

cublasLtEpilogue_t epilogue_of(const GemmArgs& g) {
  if (g.activation == Activation::gelu_tanh)
    return g.bias != nullptr ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  return g.bias != nullptr ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

PlanKey key_of(const GemmArgs& g) {
  const int64_t flags = static_cast<int64_t>(g.a.type) | static_cast<int64_t>(g.c_type) << 1 |
                        static_cast<int64_t>(g.bias_type) << 2 | static_cast<int64_t>(g.a.transposed) << 3 |
                        static_cast<int64_t>(g.b.transposed) << 4 | static_cast<int64_t>(g.compute) << 5 |
                        static_cast<int64_t>(epilogue_of(g)) << 8;
  return {g.m, g.n, g.k, g.batch, g.a.row_stride, g.b.row_stride, g.c_row_stride, g.a_batch_stride, g.b_batch_stride,
          g.c_batch_stride, flags, alignment(g.a.data), alignment(g.b.data), alignment(g.c)};
}

std::unique_ptr<Plan> make_plan(const CublasLt& lt, cublasLtHandle_t handle, const GemmArgs& g) {
  auto plan = std::make_unique<Plan>(lt);
  const bool rounded = g.a.type == ElementType::f32 && g.compute == Compute::bf16;
  check_cublas(lt.desc_create(&plan->operation.value, rounded ? CUBLAS_COMPUTE_32F_FAST_16BF : CUBLAS_COMPUTE_32F,
                              CUDA_R_32F), "operation");
  // Cᵀ[n,m] = op(B)ᵀ op(A)ᵀ: the first operand of the library is our B, and what is row-major and not transposed for us
  // is
  // column-major and not transposed for it.
  const cublasLtMatmulDesc_t operation = plan->operation.value;
  set(lt, operation, CUBLASLT_MATMUL_DESC_TRANSA, g.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(lt, operation, CUBLASLT_MATMUL_DESC_TRANSB, g.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(lt, operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(g));
  if (g.bias != nullptr) {
    set(lt, operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
    set(lt, operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(cuda_type(g.bias_type)));
  }
  make_layout(lt, plan->a.value, g.b.type, g.b.transposed ? g.n : g.k, g.b.transposed ? g.k : g.n, g.b.row_stride,
              g.batch, g.b_batch_stride);
  make_layout(lt, plan->b.value, g.a.type, g.a.transposed ? g.k : g.m, g.a.transposed ? g.m : g.k, g.a.row_stride,
              g.batch, g.a_batch_stride);
  make_layout(lt, plan->c.value, g.c_type, g.m, g.n, g.c_row_stride, g.batch, g.c_batch_stride);

  Handle<cublasLtMatmulPreference_t> preference(lt.preference_destroy);
  check_cublas(lt.preference_create(&preference.value), "preference");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check_cublas(lt.preference_set(preference.value, attribute, &value, sizeof value), "preference attribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{CudaDevice::kWorkspaceBytes});
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(g.b.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(g.a.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(g.c));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(g.c));

  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = lt.heuristic(handle, operation, plan->a.value, plan->b.value, plan->c.value,
                                             plan->c.value, preference.value, 1, &result, &found);
  if (status == CUBLAS_STATUS_SUCCESS && found > 0 && result.state == CUBLAS_STATUS_SUCCESS) {
    plan->algorithm = result.algo;
    plan->workspace = result.workspaceSize;
    plan->available = true;
  } else if (status != CUBLAS_STATUS_SUCCESS && status != CUBLAS_STATUS_NOT_SUPPORTED &&
             status != CUBLAS_STATUS_INVALID_VALUE) {
    check_cublas(status, "no algorithm can be chosen");
  }
  return plan;
}

Plan& plan_for(CudaDevice& device, const GemmArgs& g) {
  GemmCache& cache = cache_of(device);
  const PlanKey key = key_of(g);
  const auto found = cache.plans.find(key);
  if (found != cache.plans.end()) return *found->second;
  if (cache.plans.size() >= kMaxPlans) cache.plans.clear();
  return *(cache.plans[key] = make_plan(cublaslt(), cache.handle, g));
}

// One library call, with at most kMaxBatch items; false when the library cannot do it.
bool run(CudaDevice& device, const GemmArgs& g) {
  Plan& plan = plan_for(device, g);
  if (!plan.available) return false;
  const CublasLt& lt = cublaslt();
  if (g.bias != nullptr) set(lt, plan.operation.value, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
  const float beta = g.accumulate ? 1.0f : 0.0f;
  void* workspace = plan.workspace > 0 ? device.workspace() : nullptr;
  check_cublas(lt.matmul(cache_of(device).handle, plan.operation.value, &g.alpha, g.b.data, plan.a.value, g.a.data,
                         plan.b.value, &beta, g.c, plan.c.value, g.c, plan.c.value, &plan.algorithm, workspace,
                         plan.workspace, device.stream()),
               "matmul");
  return true;
}

void* offset(const void* data, ElementType type, int64_t elements) {
  return const_cast<char*>(static_cast<const char*>(data)) + elements * static_cast<int64_t>(element_bytes(type));
}

// Calls `body` with at most kMaxBatch items at a time.
template <class Body>
void for_batches(const GemmArgs& g, const Body& body) {
  for (int64_t first = 0; first < g.batch; first += kMaxBatch) {
    GemmArgs part = g;
    part.batch = std::min(kMaxBatch, g.batch - first);
    part.a.data = offset(g.a.data, g.a.type, first * g.a_batch_stride);
    part.b.data = offset(g.b.data, g.b.type, first * g.b_batch_stride);
    part.c = offset(g.c, g.c_type, first * g.c_batch_stride);
    body(part);
  }
}

void check(const GemmArgs& g) {
  RL_CHECK(g.m >= 0 && g.n >= 0 && g.k >= 0 && g.batch >= 0, code::kShape, "gemm: sizes must not be negative, got m ",
           g.m, ", n ", g.n,
           ", k ", g.k, ", batch ", g.batch);
  const auto row_of = [](const Matrix& matrix, int64_t rows, int64_t columns) { return matrix.transposed ? rows
                                                                               : columns; };
  RL_CHECK(g.a.row_stride >= row_of(g.a, g.m, g.k) && g.b.row_stride >= row_of(g.b, g.k, g.n) && g.c_row_stride >= g.n,
           code::kShape,
           "gemm: a row stride is shorter than a row: a ", g.a.row_stride, ", b ", g.b.row_stride, ", c ",
               g.c_row_stride);
  RL_CHECK(g.a.type == g.b.type, code::kShape, "gemm on CUDA: a and b must have one element type");
}

// The product in f32, then everything else in one kernel.
void run_in_two_steps(CudaDevice& device, const GemmArgs& g) {
  std::shared_ptr<Buffer> product;
  if (g.k > 0) {
    product = device.allocate(static_cast<size_t>(g.batch * g.m * g.n) * sizeof(float));
    GemmArgs plain = g;
    plain.c = product->data;
    plain.c_type = ElementType::f32;
    plain.c_row_stride = g.n;
    plain.c_batch_stride = g.m * g.n;
    plain.bias = nullptr;
    plain.bias_type = ElementType::f32;
    plain.activation = Activation::none;
    plain.accumulate = false;
    RL_CHECK(run(device, plain), code::kDevice, "cuBLASLt has no algorithm for [", g.m, ",", g.k, "] x [", g.k, ",",
             g.n, "] ",
             g.a.type == ElementType::f32 ? "f32" : "bf16", ", batch ", g.batch, " on ", device.name());
  }
  gemm_epilogue_cuda({product ? static_cast<const float*>(product->data) : nullptr, g.bias, g.c, g.batch, g.m, g.n,
                      g.c_row_stride,
                      g.c_batch_stride, g.bias_type, g.c_type, g.activation, g.accumulate},
                     device.stream());
}

}  // namespace

void gemm_cuda(const GemmArgs& args, Device& any_device) {
  check(args);
  if (args.m == 0 || args.n == 0 || args.batch == 0) return;
  auto& device = static_cast<CudaDevice&>(any_device);
  (void)device.stream();  // makes the device current before the library looks
  const bool simple = args.activation == Activation::none ||
      (args.activation == Activation::gelu_tanh && !args.accumulate);
  const bool aligned_bias = args.bias == nullptr || alignment(args.bias) >= 16;
  for_batches(args, [&](const GemmArgs& part) {
    if (simple && aligned_bias && part.k > 0 && run(device, part)) return;
    run_in_two_steps(device, part);
  });
}

}  // namespace rl
